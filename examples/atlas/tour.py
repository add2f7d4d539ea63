"""What a client does with the service, one part after another. Every answer is compared with what it should be."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

from examples.atlas import importer
from examples.atlas.client import Client, check
from holdall import Capability


@dataclass(frozen=True)
class Part:
    """One part of the tour; ``run`` returns what it did, in a few words. ``needs`` is what the database must promise for its answers."""

    title: str
    run: Callable[[Client], Awaitable[str]]
    needs: frozenset[Capability] = frozenset()


async def look_up(client: Client) -> str:
    """Read every country by its key, one after another."""
    known = importer.countries()
    for country in known:
        check(await client.get(f"/countries/{country.code}"), country.model_dump(mode="json"), country.name)
    return f"all {len(known)} countries, one by one"


async def filter_them(client: Client) -> str:
    """Ask for the subdivisions of a country, and for those of one type."""
    known = [item for item in importer.subdivisions() if item.country_code == "DE"]
    check(await names(client, "/countries/DE/subdivisions"), sorted(item.name for item in known), "the subdivisions of Germany")
    page = await client.get("/subdivisions", country="IT", type="Metropolitan city", size=100)
    cities = {item.code for item in importer.subdivisions() if item.country_code == "IT" and item.type == "Metropolitan city"}
    check({item["code"] for item in page["items"]}, cities, "the metropolitan cities of Italy")
    return f"{len(known)} states of Germany, {len(cities)} metropolitan cities of Italy"


async def search(client: Client) -> str:
    """Search in names, where case does not count, beyond ASCII neither."""
    found: dict[str, int] = {}
    for part in ("LAND", "ÅLAND", "ô"):
        known = {item.name for item in importer.countries() if part.casefold() in item.name.casefold()}
        check(set(await names(client, "/countries", q=part)), known, f"countries with {part!r}")
        found[part] = len(known)
    known = {item.name for item in importer.languages() if "sign language" in item.name.casefold()}
    check(set(await names(client, "/languages", q="Sign Language", limit=1000)), known, "sign languages")
    hits = ", ".join(f"{count} with {part!r}" for part, count in found.items())
    return f"of the countries {hits}; {len(known)} sign languages"


async def sort(client: Client) -> str:
    """Ask for lists in both directions; names are in the order of their code points."""
    known = sorted(item.name for item in importer.countries())
    check(await names(client, "/countries", order="name"), known, "countries, ascending")
    check(await names(client, "/countries", order="-name"), known[::-1], "countries, descending")
    last = sorted((item.name for item in importer.languages()), reverse=True)[:3]
    check(await names(client, "/languages", order="-name", limit=3), last, "the last languages")
    return f"countries from {known[0]} to {known[-1]} and back; the last language is {last[0]}"


async def page_through(client: Client) -> str:
    """Walk through all subdivisions; each is seen exactly once, in order."""
    page = await client.get("/subdivisions", size=250)
    seen, pages = page["items"], 1
    while page["next"] is not None:
        page = await client.get("/subdivisions", size=250, after=page["next"])
        seen, pages = seen + page["items"], pages + 1
    known = sorted(importer.subdivisions(), key=lambda item: (item.country_code, item.name, item.code))
    check([item["code"] for item in seen], [item.code for item in known], "the subdivisions on all pages")
    before = await client.get("/subdivisions", size=250, after=page["previous"])
    check(before["items"], seen[-250 - len(page["items"]) : -len(page["items"])], "the page before the last")
    return f"{len(seen):,} subdivisions on {pages} pages, each seen once"


async def refuse_a_stale_change(client: Client) -> str:
    """Two clients read the same version; the second to write is refused."""
    ada = await new_traveller(client, "Ada")
    path = f"/travellers/{ada['id']}"
    changed = await client.send("PATCH", path, 200, {"version": ada["version"], "home": "GB"})
    check((changed["home"], changed["version"]), ("GB", ada["version"] + 1), "the change")
    problem = await client.send("PATCH", path, 409, {"version": ada["version"], "home": "FR"})
    check(problem["type"], "urn:holdall:conflict", "the problem")
    check((await client.get(path))["home"], "GB", "the home afterwards")
    return f"409 for the second of two changes that were both made to version {ada['version']}"


async def refuse_a_duplicate(client: Client) -> str:
    """Use an email that is taken."""
    ada = await new_traveller(client, "Ada")
    problem = await client.post("/travellers", {"email": ada["email"], "name": "Eve"}, expect=409)
    check((problem["model"], problem["fields"]), ("Traveller", ["email"]), "the problem")
    return "409 for a traveller whose email is taken"


async def refuse_a_batch(client: Client) -> str:
    """Send a batch with one country that exists, of which nothing is kept."""
    new = {"code": "QQ", "alpha_3": "QQQ", "numeric": "999", "name": "Nowhere"}
    await client.post("/countries", [new, {**new, "code": "IS", "alpha_3": "QQP", "numeric": "998"}], expect=409)
    await client.get("/countries/QQ", expect=404)
    return "409 for a batch with a country that exists, of which nothing was kept"


async def miss(client: Client) -> str:
    """Ask for what is not there."""
    problem = await client.get("/countries/XX", expect=404)
    check((problem["model"], problem["key"]), ("Country", "XX"), "the problem")
    ada = await new_traveller(client, "Ada")
    await client.send("DELETE", f"/travellers/{ada['id']}", 204)
    await client.get(f"/travellers/{ada['id']}", expect=404)
    return f"404 for a country XX (“{problem['detail']}”) and for a traveller who was deleted"


async def refuse_bad_input(client: Client) -> str:
    """Send what has no meaning: to FastAPI, to pydantic, to the query and to the database."""
    await client.get("/countries", order="beauty", expect=422)
    await client.post("/countries", [{"code": "toolong", "alpha_3": "x", "numeric": "y", "name": ""}], expect=422)
    await client.get("/subdivisions", after="not-a-cursor", expect=422)
    await client.get("/languages", q="\0", expect=422)
    return "422 for an unknown order, a wrong code, a made-up cursor, U+0000"


async def refuse_a_dangling_reference(client: Client) -> str:
    """Name a country that is not there."""
    problem = await client.post("/travellers", {"email": "x@example.org", "name": "X", "home": "XX"}, expect=409)
    check(problem["type"], "urn:holdall:foreign-key", "the problem of a home that is no country")
    return "409 for a home that is no country"


async def send_money(client: Client) -> str:
    """Send money in both directions at once: nothing is lost, nothing is made."""
    ada, bob = await new_traveller(client, "Ada", 100), await new_traveller(client, "Bob", 100)
    count = 10
    await asyncio.gather(*(pay(client, *pair, "2.50") for _ in range(count) for pair in ((ada, bob), (bob, ada))))
    await pay(client, ada, bob, "30.01")
    check(await balances(client, ada, bob), [Decimal("69.99"), Decimal("130.01")], "the balances")
    return f"{2 * count} at once, to and fro, and one of 30.01: 100 + 100 became 69.99 + 130.01"


async def roll_back(client: Client) -> str:
    """Let transfers fail half-way: after the payer was debited, and after both were changed."""
    ada, bob = await new_traveller(client, "Ada", 100), await new_traveller(client, "Bob", 100)
    nobody = {"id": str(uuid4())}
    await pay(client, ada, nobody, "40", expect=404)
    check(await balances(client, ada), [Decimal(100)], "the payer's balance after a transfer to nobody")
    reference = str(uuid4())
    await pay(client, ada, bob, "40", reference=reference)
    await pay(client, ada, bob, "40", reference=reference, expect=409)
    check(await balances(client, ada, bob), [Decimal(60), Decimal(140)], "the balances after the same transfer twice")
    await pay(client, ada, bob, "60.01", expect=409)
    check(await balances(client, ada, bob), [Decimal(60), Decimal(140)], "the balances after a transfer of too much")
    return "404 for an unknown payee, 409 for a reference used before: the payer had been debited, and has the money again"


PARTS = (
    Part("look up by key", look_up),
    Part("filter", filter_them),
    Part("search", search),
    Part("sort", sort),
    Part("page", page_through),
    Part("stale change", refuse_a_stale_change),
    Part("duplicate", refuse_a_duplicate),
    Part("batch", refuse_a_batch, frozenset({Capability.ATOMIC_BULK})),
    Part("missing", miss),
    Part("bad input", refuse_bad_input),
    Part("dangling reference", refuse_a_dangling_reference, frozenset({Capability.FOREIGN_KEYS})),
    Part("transfers", send_money),
    Part("half-way failure", roll_back),
)


async def names(client: Client, path: str, **query: str | int) -> list[str]:
    """Ask for a list, and return its names."""
    return [item["name"] for item in await client.send("GET", path, 200, query=query)]


async def new_traveller(client: Client, name: str, balance: int = 0) -> Any:
    """Make a traveller whose email nobody has."""
    return await client.post("/travellers", {"email": f"{name}.{uuid4().hex}@example.org", "name": name, "balance": balance})


async def pay(client: Client, payer: Any, payee: Any, amount: str, *, reference: str | None = None, expect: int = 201) -> Any:
    """Send money."""
    order = {"reference": reference or str(uuid4()), "payer": payer["id"], "payee": payee["id"], "amount": amount}
    return await client.post("/transfers", order, expect)


async def balances(client: Client, *travellers: Any) -> list[Decimal]:
    """Read the balances of travellers."""
    return [Decimal((await client.get(f"/travellers/{traveller['id']}"))["balance"]) for traveller in travellers]
