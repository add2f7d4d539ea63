"""Writes of single records and of many by key. All are POST with an id: the HTTP client would send PUT and DELETE twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from holdall.errors import BackendError, DuplicateKeyError, HoldallError
from holdall.query import operations as op
from holdall.stores.opensearch.errors import ServerError, error_of_item, translate
from holdall.stores.opensearch.mapping import Row
from holdall.stores.opensearch.naming import only_of
from holdall.stores.opensearch.requests import CONFLICT, MISSING, Item, Lines, ModelRequests, Run
from holdall.stores.opensearch.unique import Claim, Held, OwnerHas, Reservations, claims_of
from holdall.stores.opensearch.values import plain_of

# The version is the model's own: the server's sequence numbers start anew in a new index, where a stale one could fit again.
# Texts are constant, values are parameters: the server compiles each text once, and refuses too many new ones.
# A record that was stored before its model had a version has none.
_IF_VERSION = (
    "Number n = ctx._source[params.f]; if (n == null || n.longValue() != ((Number)params.v).longValue()) { ctx.op = 'none' } else { %s }"
)
UPDATE_AT = _IF_VERSION % "ctx._source.putAll(params.d)"
DELETE_AT = _IF_VERSION % "ctx.op = 'delete'"
DELETE = "ctx.op = 'delete'"
UPSERT = (
    "Map d = new HashMap(params.d); for (f in params.k) { d[f] = ctx._source[f] } "
    "if (params.f != null) { Number n = ctx._source[params.f]; d[params.f] = (n == null ? 0L : n.longValue()) + 1 } ctx._source = d"
)
_RETRIES = "&retry_on_conflict=1000"
_ATTEMPTS = 1000
_BULK = 1000


def key_taken(requests: ModelRequests, row: Row) -> DuplicateKeyError:
    """Return the error for a key that is taken."""
    info = requests.info
    return DuplicateKeyError(info.label, [spec.name for spec in info.key], [spec.python(row[spec.position]) for spec in info.key])


async def _create(requests: ModelRequests, row: Row) -> None:
    document = requests.shape.to_document(row)
    try:
        await requests.client.request("POST", requests.document_path("_create", requests.shape.key_of(row)) + requests.write, document)
    except ServerError as exc:
        if exc.status == CONFLICT:
            raise key_taken(requests, row) from exc
        raise translate(exc, requests.info.label) from exc


async def insert(requests: ModelRequests, operation: op.Insert) -> None:
    """Create a record; before it, the reservations of its unique values."""
    shape, row = requests.shape, operation.row
    shape.check_row(row)
    if not requests.info.uniques:
        await _create(requests, row)
        return
    shape.to_document(row)  # what cannot be written must reserve nothing
    reservations = Reservations(requests)
    owner = requests.id_of(shape.key_of(row))
    try:
        held = await reservations.hold(claims_of(shape, row).values(), owner)
    except OwnerHas:
        raise key_taken(requests, row) from None
    try:
        await _create(requests, row)
    except HoldallError as exc:
        if isinstance(exc.__cause__, ServerError):  # the server says that the record is not stored; a lost connection says nothing
            await reservations.give_up(held)
        raise
    await _keep(requests, reservations, held, shape.key_of(row))


async def _keep(requests: ModelRequests, reservations: Reservations, held: Sequence[Held], key: op.Key) -> None:
    """Remove our record if we were so slow that another one has the value."""
    lost = await reservations.lost(held)
    if lost is not None:
        await requests.client.complete(_remove(requests, key))
        await reservations.release([item for item in held if item.claim is not lost])
        raise reservations.refuse(lost)


async def _remove(requests: ModelRequests, key: op.Key) -> bool:
    try:
        done = await requests.client.request(
            "POST", f"{requests.document_path('_update', key)}{requests.write}{_RETRIES}", {"script": {"source": DELETE}}
        )
    except ServerError as exc:
        if exc.type == "document_missing_exception":
            return False
        raise translate(exc, requests.info.label) from exc
    return bool(done["result"] == "deleted")


async def insert_absent(requests: ModelRequests, operation: op.InsertAbsent) -> tuple[bool, None]:
    """Create a record unless one has the same values; then see to it that queries find that one."""
    try:
        await insert(requests, op.Insert(operation.info, operation.row))
    except DuplicateKeyError as exc:
        if exc.fields != tuple(spec.name for spec in operation.unique):
            raise
        await requests.refresh()
        return False, None
    return True, None


async def update(requests: ModelRequests, operation: op.Update) -> bool:
    """Change some fields, at the version if there is one."""
    info, shape = requests.info, requests.shape
    shape.check(operation.fields, operation.values)
    part = shape.part(operation.fields, operation.values)
    changed = set(operation.fields)
    if any(changed.intersection(fields) for fields in info.uniques):
        return await _update_unique(requests, operation, part)
    body: dict[str, Any] = {"doc": part}
    if operation.version is not None and info.version is not None:
        params = {"f": shape.name(info.version), "v": operation.version, "d": part}
        body = {"script": {"source": UPDATE_AT, "params": params}}
    return await _updated(requests, operation.key, body)


async def _updated(requests: ModelRequests, key: op.Key, body: Mapping[str, Any]) -> bool:
    """Send an update; False when the record is gone, or was at another version."""
    path = f"{requests.document_path('_update', key)}{requests.write}{_RETRIES}"
    try:
        done = await requests.client.request("POST", path, body)
    except ServerError as exc:
        if exc.type == "document_missing_exception":
            return False
        raise translate(exc, requests.info.label) from exc
    return bool(done["result"] != "noop" or "script" not in body)


async def delete(requests: ModelRequests, operation: op.Delete) -> bool:
    """Remove a record, at the version if there is one; after it, the reservations of its unique values."""
    info = requests.info
    if info.uniques:
        return await _delete_unique(requests, operation)
    if operation.version is None or info.version is None:
        return await _remove(requests, operation.key)
    params = {"f": requests.shape.name(info.version), "v": operation.version}
    return await _updated(requests, operation.key, {"script": {"source": DELETE_AT, "params": params}})


async def upsert(requests: ModelRequests, operation: op.Upsert) -> list[Any]:
    """Store a record whether or not there is one."""
    info, shape = requests.info, requests.shape
    shape.check_row(operation.row)
    document = shape.to_document(operation.row)
    if info.uniques:
        return await _upsert_unique(requests, operation)
    kept = [name for spec in operation.keep for name in shape.part([spec], [operation.row[spec.position]])]
    params = {"d": document, "k": kept, "f": None if info.version is None else shape.name(info.version)}
    body = {"script": {"source": UPSERT, "params": params}, "upsert": document}
    path = f"{requests.document_path('_update', shape.key_of(operation.row))}{requests.write}{_RETRIES}&_source=true"
    done = await requests.send("POST", path, body)
    source = done["get"]["_source"]
    return [plain_of(spec, source.get(shape.name(spec))) for spec in operation.returning]


# -- records with unique values --------------------------------------------------------------------------------------------------------


def _target(found: Mapping[str, Any], requests: ModelRequests, action: str) -> str:
    """Return the path of a write to a document as it was read: of its own index, because numbers of another one mean nothing here."""
    path = f"/{quote(only_of(found['_index']), safe='')}/{action}/{quote(found['_id'], safe='')}"
    return f"{path}{requests.write}&if_seq_no={found['_seq_no']}&if_primary_term={found['_primary_term']}"


async def replace(requests: ModelRequests, found: Mapping[str, Any], after: Row, part: Mapping[str, Any]) -> bool:
    """Change a record as it was read, with its reservations; False when it has changed meanwhile."""
    shape, owner = requests.shape, str(found["_id"])
    old, new = claims_of(shape, shape.plain_row(found["_source"])), claims_of(shape, after)
    reservations = Reservations(requests)
    try:
        held = await reservations.hold([new[id] for id in new.keys() - old.keys()], owner)
    except OwnerHas:
        return False
    given_up = await reservations.owned([(old[id], owner) for id in old.keys() - new.keys()])
    try:
        done = await requests.client.request("POST", _target(found, requests, "_update"), {"doc": part})
    except ServerError as exc:
        await reservations.give_up(held)
        if exc.status in (CONFLICT, MISSING):
            return False
        raise translate(exc, requests.info.label) from exc
    lost = await reservations.lost(held)
    if lost is not None:
        await requests.client.complete(_put_back(requests, found, part, done, [item.claim for item in given_up]))
        await reservations.release([item for item in held if item.claim is not lost])
        raise reservations.refuse(lost)
    await reservations.release(given_up)
    return True


async def _put_back(
    requests: ModelRequests, found: Mapping[str, Any], part: Mapping[str, Any], done: Mapping[str, Any], claims: Sequence[Claim]
) -> None:
    """Undo a change that was so slow that another record has the value, after making sure of the values that it gave up."""
    try:
        await Reservations(requests).hold(claims, str(found["_id"]))
    except OwnerHas:
        return
    now = {**found, "_seq_no": done["_seq_no"], "_primary_term": done["_primary_term"]}
    before = {name: found["_source"].get(name) for name in part}
    try:
        await requests.client.request("POST", _target(now, requests, "_update"), {"doc": before})
    except ServerError as exc:
        if exc.status not in (CONFLICT, MISSING):  # what others have made of it since is theirs
            raise translate(exc, requests.info.label) from exc


async def _update_unique(requests: ModelRequests, operation: op.Update, part: Mapping[str, Any]) -> bool:
    info, shape = requests.info, requests.shape
    for _ in range(_ATTEMPTS):
        found = await requests.get(requests.id_of(operation.key))
        if found is None:
            return False
        before = shape.plain_row(found["_source"])
        if operation.version is not None and info.version is not None and before[info.version.position] != operation.version:
            return False
        values = dict(zip([spec.position for spec in operation.fields], operation.values, strict=True))
        if await replace(requests, found, tuple([values.get(place, value) for place, value in enumerate(before)]), part):
            return True
    raise _too_busy(requests)


async def _delete_unique(requests: ModelRequests, operation: op.Delete) -> bool:
    info, shape = requests.info, requests.shape
    for _ in range(_ATTEMPTS):
        found = await requests.get(requests.id_of(operation.key))
        if found is None:
            return False
        row = shape.plain_row(found["_source"])
        if operation.version is not None and info.version is not None and row[info.version.position] != operation.version:
            return False
        reservations, owner = Reservations(requests), str(found["_id"])
        given_up = await reservations.owned([(claim, owner) for claim in claims_of(shape, row).values()])
        try:
            await requests.client.request("POST", _target(found, requests, "_update"), {"script": {"source": DELETE}})
        except ServerError as exc:
            if exc.status in (CONFLICT, MISSING):
                continue
            raise translate(exc, info.label) from exc
        await reservations.release(given_up)
        return True
    raise _too_busy(requests)


async def _upsert_unique(requests: ModelRequests, operation: op.Upsert) -> list[Any]:
    info, shape, row = requests.info, requests.shape, operation.row
    for _ in range(_ATTEMPTS):
        found = await requests.get(requests.id_of(shape.key_of(row)))
        after = row
        if found is None:
            try:
                await insert(requests, op.Insert(info, row))
            except DuplicateKeyError as exc:
                if exc.fields != tuple(spec.name for spec in info.key):
                    raise
                continue
        else:
            before = shape.plain_row(found["_source"])
            kept = {spec.position: before[spec.position] for spec in operation.keep}
            if info.version is not None:
                kept[info.version.position] = (before[info.version.position] or 0) + 1
            after = tuple([kept.get(place, value) for place, value in enumerate(row)])
            if not await replace(requests, found, after, shape.to_document(after)):
                continue
        return [after[spec.position] for spec in operation.returning]
    raise _too_busy(requests)


def _too_busy(requests: ModelRequests) -> HoldallError:
    return BackendError(f"{requests.info.label}: the record was changed by others {_ATTEMPTS} times in a row")


# -- many records ----------------------------------------------------------------------------------------------------------------------


class _Chunk:
    """Creates that go together.

    Attributes:
        start: the place of the first among all.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.rows: list[Row] = []
        self.lines = Lines()


async def insert_many(requests: ModelRequests, operation: op.InsertMany) -> None:
    """Create records in chunks; an error tells in ``written`` which were stored, and in ``reasons`` what was wrong with the others."""
    written: list[int] = []
    for chunk in _chunks(requests, operation.rows):
        try:
            written += await _insert_chunk(requests, chunk)
        except HoldallError as exc:
            exc.written = (*written, *exc.written)
            if exc.reasons:
                after = len(operation.rows) - chunk.start - len(chunk.rows)
                exc.reasons = (*[None] * chunk.start, *exc.reasons, *[None] * after)
            raise


def _chunks(requests: ModelRequests, rows: Sequence[Row]) -> list[_Chunk]:
    """Return all requests, bounded in records and bytes: a record that cannot be written stops all before any I/O."""
    shape, most = requests.shape, requests.settings.bulk_bytes
    check_row, id_of_row, to_document = shape.check_row, shape.id_of_row, shape.to_document
    chunk = _Chunk(0)
    found = [chunk]
    for place, row in enumerate(rows):
        if len(chunk.rows) == _BULK or len(chunk.lines.buffer) >= most:
            chunk = _Chunk(place)
            found.append(chunk)
        check_row(row)
        chunk.rows.append(row)
        chunk.lines.create(id_of_row(row), to_document(row))
    return found


async def _insert_chunk(requests: ModelRequests, chunk: _Chunk) -> Sequence[int]:
    """Store one chunk; return the places of its records among all."""
    places = range(chunk.start, chunk.start + len(chunk.rows))
    reservations = Reservations(requests)
    try:
        held = await reservations.hold_many(_claims(requests, chunk.rows)) if requests.info.uniques else []
    except OwnerHas as exc:
        raise key_taken(requests, chunk.rows[exc.place]) from None
    try:
        items = await requests.create_all(chunk.lines)
    except HoldallError as exc:
        exc.written = [places[number] for number in exc.written]
        if isinstance(exc.__cause__, ServerError):
            await reservations.give_up([item for mine in held for item in mine])
        raise
    failed = [] if items is None else [place for place, item in enumerate(items) if "error" in item]
    if items is not None and failed:
        await reservations.give_up([item for place in failed for item in held[place]] if held else [])
        reasons = {place: _error_of(requests, chunk.rows[place], items[place]) for place in failed}
        error = reasons[failed[0]]
        error.written = [place for number, place in enumerate(places) if number not in reasons]
        error.reasons = [reasons.get(number) for number in range(len(places))]
        raise error
    for row, mine in zip(chunk.rows, held, strict=False):
        await _keep(requests, reservations, mine, requests.shape.key_of(row))
    return places


def _claims(requests: ModelRequests, rows: Sequence[Row]) -> list[tuple[str, dict[str, Claim]]]:
    return [(requests.shape.id_of_row(row), claims_of(requests.shape, row)) for row in rows]


def _error_of(requests: ModelRequests, row: Row, item: Item) -> HoldallError:
    if item["status"] == CONFLICT:
        return key_taken(requests, row)
    error = error_of_item(item)
    found = translate(error, requests.info.label)
    found.__cause__ = error
    return found


async def delete_many(requests: ModelRequests, operation: op.DeleteMany) -> int:
    """Remove records by key; return how many there were. An error tells as that of ``insert_many`` does."""
    done: list[int] = []
    removed = 0
    work = _delete_each if requests.info.uniques else _delete_chunk
    try:
        for start in range(0, len(operation.keys), _BULK):
            removed += await work(requests, operation, start, done)
    except HoldallError as exc:
        exc.written = done
        raise
    return removed


async def _delete_each(requests: ModelRequests, operation: op.DeleteMany, start: int, done: list[int]) -> int:
    removed = 0
    for place, key in enumerate(operation.keys[start : start + _BULK], start):
        removed += await delete(requests, op.Delete(operation.info, key, None))
        done.append(place)
    return removed


async def _delete_chunk(requests: ModelRequests, operation: op.DeleteMany, start: int, done: list[int]) -> int:
    lines = Lines()
    keys = operation.keys[start : start + _BULK]
    for key in keys:
        lines.add({"delete": {"_id": requests.id_of(key)}})
    try:
        items = await requests.bulk(lines)
    except HoldallError as exc:
        done += [start + place for place in exc.written]
        raise
    done += [start + place for place, item in enumerate(items) if "error" not in item]
    errors = {start + place: error_of_item(item) for place, item in enumerate(items) if "error" in item}
    if errors:
        reasons = {place: translate(error, requests.info.label) for place, error in errors.items()}
        first = next(iter(errors))
        reasons[first].reasons = [reasons.get(place) for place in range(len(operation.keys))]
        raise reasons[first] from errors[first]
    return sum(item["status"] != MISSING for item in items)


WRITES: Run = {
    op.Insert: insert,
    op.InsertMany: insert_many,
    op.InsertAbsent: insert_absent,
    op.Upsert: upsert,
    op.Update: update,
    op.Delete: delete,
    op.DeleteMany: delete_many,
}
