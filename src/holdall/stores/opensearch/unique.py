"""Unique fields: a document of its own reserves each value, created before the record that has it.

A create of a document whose id is taken is refused by the server, so that one writer wins. A writer that dies between the two leaves a
reservation whose owner does not have the value: after a grace another one takes it over. A writer that was slower than the grace looks
whether its reservation is still its own, and removes its record if not: between the two there are, for that long, two records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from time import monotonic, time
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import orjson

from holdall.errors import DuplicateKeyError, HoldallError
from holdall.record.metadata import FieldSpec
from holdall.stores.opensearch.client import Pauses
from holdall.stores.opensearch.errors import ServerError, translate
from holdall.stores.opensearch.mapping import Row, Shape
from holdall.stores.opensearch.requests import CONFLICT, MISSING, Lines, ModelRequests

MAPPING = {
    "dynamic": "strict",
    "properties": {"owner": {"type": "keyword"}, "token": {"type": "keyword"}, "at": {"type": "long"}},
}


def mapping_of(sets: Sequence[str]) -> dict[str, Any]:
    """Return the mapping of the index; it says which sets of fields every record has reservations of."""
    return {**MAPPING, "_meta": {"reserved": sorted(sets)}}


def reserved_in(mappings: Mapping[str, Any]) -> set[str]:
    """Return the sets of fields that an index has all reservations of, by its mapping."""
    return set(mappings.get("_meta", {}).get("reserved", ()))


def set_name(shape: Shape, fields: Sequence[FieldSpec]) -> str:
    """Return the name of a set of fields that are unique together."""
    return "+".join(shape.name(spec) for spec in fields)


class Claim(NamedTuple):
    """Values that are unique together, and the id of their reservation."""

    fields: tuple[FieldSpec, ...]
    values: tuple[Any, ...]
    id: str


class Held(NamedTuple):
    """A reservation that is ours, at the state in which we wrote it."""

    claim: Claim
    token: str
    seq_no: int
    term: int


def claims_of(shape: Shape, row: Row) -> dict[str, Claim]:
    """Return what a record claims: every set of unique fields without a None."""
    found: dict[str, Claim] = {}
    for fields in shape.info.uniques:
        values = tuple([row[spec.position] for spec in fields])
        if None not in values:
            natives = orjson.dumps([shape.native(spec, value) for spec, value in zip(fields, values, strict=True)])
            digest = blake2b(natives, digest_size=24).hexdigest()
            claim = Claim(fields, values, f"{set_name(shape, fields)}:{digest}")
            found[claim.id] = claim
    return found


class OwnerHas(Exception):
    """The record that values are reserved for has one of them already: another writer was quicker.

    Attributes:
        place: of the record among those of a bulk write.
    """

    def __init__(self, place: int = 0) -> None:
        self.place = place
        super().__init__(place)


class Reservations:
    """The reservations of one model."""

    def __init__(self, requests: ModelRequests) -> None:
        self._requests = requests
        self._path = quote(requests.reservations, safe="")
        self._began = monotonic()

    async def hold(self, claims: Iterable[Claim], owner: str) -> list[Held]:
        """Reserve values for the record with that id; all or none.

        Raises:
            DuplicateKeyError: another record has one of them.
            OwnerHas: the record itself has one of them by now.
        """
        held: list[Held] = []
        try:
            for claim in claims:
                held.append(await self._hold(claim, owner))  # noqa: PERF401 - what was reserved before an error is released
        except BaseException:
            await self.give_up(held)
            raise
        return held

    async def _hold(self, claim: Claim, owner: str) -> Held:
        pauses = Pauses(self._requests.settings.unique_grace + self._requests.settings.retry_timeout)
        while True:
            made = await self._write(claim, owner, "_create", "")
            found = None if made is not None else await self._find(claim)
            if made is not None:
                return made
            if found is None:
                continue  # released between the two
            taken = await self._take_over(claim, owner, found)
            if taken is not None:
                return taken
            if not await pauses.wait():
                raise self._duplicate(claim)

    async def _take_over(self, claim: Claim, owner: str, found: Any) -> Held | None:
        """Make another's reservation ours, if its owner does not have the value and has had its time; None: look again later."""
        source = found["_source"]
        if await self._has(source["owner"], claim):
            raise OwnerHas if source["owner"] == owner else self._duplicate(claim)
        # Also where the owner is the same: another writer of that record may be about to write it.
        if time() * 1000 - source["at"] < self._requests.settings.unique_grace * 1000:
            return None
        return await self._write(claim, owner, "_doc", f"&if_seq_no={found['_seq_no']}&if_primary_term={found['_primary_term']}")

    async def _has(self, owner: str, claim: Claim) -> bool:
        """Tell whether the record with that id has the value now."""
        record = await self._requests.get(owner)
        return record is not None and claim.id in claims_of(self._requests.shape, self._requests.shape.plain_row(record["_source"]))

    async def _write(self, claim: Claim, owner: str, action: str, condition: str) -> Held | None:
        token = uuid4().hex
        path = f"/{self._path}/{action}/{quote(claim.id, safe='')}?require_alias=true{condition}"
        try:
            done = await self._requests.client.request("POST", path, {"owner": owner, "token": token, "at": int(time() * 1000)})
        except ServerError as exc:
            if exc.status == CONFLICT:
                return None
            raise translate(exc, self._requests.info.label) from exc
        return Held(claim, token, done["_seq_no"], done["_primary_term"])

    async def _find(self, claim: Claim) -> Any:
        try:
            found = await self._requests.client.read("GET", f"/{self._path}/_doc/{quote(claim.id, safe='')}")
        except ServerError as exc:
            raise translate(exc, self._requests.info.label) from exc
        return found if found["found"] else None

    def _duplicate(self, claim: Claim) -> DuplicateKeyError:
        values = [spec.python(value) for spec, value in zip(claim.fields, claim.values, strict=True)]
        return DuplicateKeyError(self._requests.info.label, [spec.name for spec in claim.fields], values)

    # -- many at once ------------------------------------------------------------------------------------------------------------------

    async def hold_many(self, rows: Sequence[tuple[str, dict[str, Claim]]]) -> list[list[Held]]:
        """Reserve the values of many records, each with its id; all or none. Raises ``DuplicateKeyError``, or ``OwnerHas`` with a place."""
        wanted = [(place, owner, claim) for place, (owner, claims) in enumerate(rows) for claim in claims.values()]
        seen: set[str] = set()
        for _, _, claim in wanted:
            if claim.id in seen:
                raise self._duplicate(claim)
            seen.add(claim.id)
        held: list[list[Held]] = [[] for _ in rows]
        if not wanted:
            return held
        try:
            await self._hold_each(wanted, held)
        except BaseException:
            await self.give_up([item for items in held for item in items])
            raise
        return held

    async def _hold_each(self, wanted: Sequence[tuple[int, str, Claim]], held: list[list[Held]]) -> None:
        made = await self._create_each([(owner, claim) for _, owner, claim in wanted])
        for (place, _, _), found in zip(wanted, made, strict=True):
            if found is not None:
                held[place].append(found)
        for (place, owner, claim), found in zip(wanted, made, strict=True):
            if found is None:
                try:
                    held[place].append(await self._hold(claim, owner))
                except OwnerHas:
                    raise OwnerHas(place) from None

    async def _create_each(self, wanted: Sequence[tuple[str, Claim]]) -> list[Held | None]:
        """Return what could be reserved at once."""
        lines = Lines()
        tokens = [uuid4().hex for _ in wanted]
        for (owner, claim), token in zip(wanted, tokens, strict=True):
            lines.add({"create": {"_id": claim.id}}, {"owner": owner, "token": token, "at": int(time() * 1000)})
        answer = await self._requests.send("POST", f"/{self._path}/_bulk?require_alias=true", bytes(lines.buffer))
        done = [item["create"] for item in answer["items"]]
        return [
            Held(claim, token, item["_seq_no"], item["_primary_term"]) if item["status"] < 300 else None
            for (_, claim), token, item in zip(wanted, tokens, done, strict=True)
        ]

    async def adopt(self, wanted: Sequence[tuple[str, Claim]]) -> None:
        """Reserve values for the records that have them. Raises ``DuplicateKeyError``."""
        made = await self._create_each(wanted) if wanted else []
        for (owner, claim), found in zip(wanted, made, strict=True):
            if found is None:
                with suppress(OwnerHas):  # and its reservation too
                    await self._hold(claim, owner)

    # -- giving up ---------------------------------------------------------------------------------------------------------------------

    async def give_up(self, held: Sequence[Held]) -> None:
        """Release after an error, which a failure to do so must not hide: another one takes the values over after the grace."""
        with suppress(HoldallError):
            await self.release(held)

    async def release(self, held: Sequence[Held]) -> None:
        """Give up reservations that are still as we know them; to the end, also when the caller is cancelled."""
        if held:
            await self._requests.client.complete(self._release(held))

    async def _release(self, held: Sequence[Held]) -> None:
        lines = Lines()
        for item in held:
            lines.add({"delete": {"_id": item.claim.id, "if_seq_no": item.seq_no, "if_primary_term": item.term}})
        await self._requests.send("POST", f"/{self._path}/_bulk?require_alias=true", bytes(lines.buffer))

    async def owned(self, pairs: Sequence[tuple[Claim, str]]) -> list[Held]:
        """Return the reservations of these values that are for the records with these ids.

        It is asked before a record loses its values: what is reserved for the same record afterwards is another writer's.
        """
        if not pairs:
            return []
        answer = await self._requests.ask("POST", f"/{self._path}/_mget", {"ids": [claim.id for claim, _ in pairs]})
        return [
            Held(claim, found["_source"]["token"], found["_seq_no"], found["_primary_term"])
            for (claim, owner), found in zip(pairs, answer["docs"], strict=True)
            if found.get("found") and found["_source"]["owner"] == owner
        ]

    async def lost(self, held: Sequence[Held]) -> Claim | None:
        """Return a value that another one took over, because we were slower than the grace; None as a rule, without looking."""
        if monotonic() - self._began < self._requests.settings.unique_grace:
            return None
        for item in held:
            found = await self._find(item.claim)
            if found is None or found["_source"]["token"] != item.token:
                return item.claim
        return None

    def refuse(self, claim: Claim) -> DuplicateKeyError:
        """Return the error for a value that was lost."""
        return self._duplicate(claim)


def is_gone(error: ServerError) -> bool:
    """Tell whether the document, or the index that it was in, is not there."""
    return error.status == MISSING
