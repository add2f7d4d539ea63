"""Rows, conditions and orders for the property tests: small pools of awkward values, so that comparisons often hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from pydantic import JsonValue

from tests.conformance.models import Color, Level, Part, Sample
from tests.conformance.oracle import Asked, Both, Check, Described, Either, Opposite, Path, Term

Values = st.SearchStrategy[Any]

TEXTS = [
    *("", " ", "a", "A", "a ", " a", "aa", "ab", "aB", "AB", "b", "%", "_", "*", "\\", "'", '"', "a%b", "a_b", "a*b", "\\%", "''", "\\'"),
    *(
        "ß",
        "ss",
        "SS",
        "ẞ",
        "İ",
        "i",
        "I",
        "ı",
        "i̇",
        "ſ",
        "s",
        "K",
        "k",
        "µ",
        "μ",
        "Σ",
        "σ",
        "ς",
        "ﬁ",
        "fi",
        "ﬀ",
        "é",
        "e\u0301",
        "É",
        "ŉ",
        "ʼn",
        "ᾳ",
        "αι",
    ),
    *(
        "\uffff",
        "\ufffd",
        "\ue000",
        "\ud7ff",
        "\U00010000",
        "\U0010ffff",
        "a\uffff",
        "a\U00010000",
        "a\U0010ffff",
        "\U0010ffff\U0010ffff",
        "😀",
    ),
    *(
        "\n",
        "\t",
        "\r\n",
        "\x01",
        "\x7f",
        "a\nb",
        "null",
        "NULL",
        "true",
        "1",
        "1.0",
        "０",
        "{}",
        "[]",
        '"a"',
        "\\u0000",
        "$1",
        ":x",
        "?",
        "--",
        "/*",
    ),
]
INTS = [0, 1, -1, 2, 10, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1]
FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    0.30000000000000004,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    -1e308,
    1e16,
    2.0**53,
    1e22,
    -1.5,
]
CENTS = [
    Decimal(text)
    for text in ("0", "-0.00", "0.01", "-0.01", "1", "1.0", "1.10", "-1.1", "10", "9999999999999999.99", "-9999999999999999.99", "1E+3")
]
EXACTS = [
    Decimal(text)
    for text in (
        *(
            "0",
            "-0",
            "1",
            "1.0",
            "1.000000000001",
            "-1.000000000001",
            "0.000000000001",
            "-0.000000000001",
            "0.1",
            "10",
            "9",
            "-9",
            "-10",
            "1E+21",
        ),
        *("9999999999999999999999.999999999999", "-9999999999999999999999.999999999999", "1234567890123456789012.123456789012"),
    )
]
ZONES = [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12)), timezone(timedelta(minutes=1))]
MOMENTS = [
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    *(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2000, 2, 29, 12, tzinfo=UTC)),
    *(datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=zone) for zone in ZONES),
    *(datetime(2025, 1, 1, 0, 0, 0, 1, tzinfo=zone) for zone in ZONES),
]
DAYS = [
    date.min,
    date.max,
    date(1, 1, 2),
    date(1969, 12, 31),
    date(1970, 1, 1),
    date(2000, 2, 29),
    date(2024, 2, 29),
    date(2024, 12, 31),
    date(2025, 1, 1),
]
CLOCKS = [time.min, time.max, time(0, 0, 0, 1), time(12), time(12, 0, 0, 500000), time(23, 59, 59)]
SPANS = [
    timedelta(0),
    timedelta(microseconds=1),
    -timedelta(microseconds=1),
    timedelta(days=-1, microseconds=5),
    timedelta(days=1),
    timedelta(days=106751990),
    timedelta(days=-106751991),
]
TOKENS = [
    UUID(int=0),
    UUID(int=1),
    UUID(int=2**127),
    UUID(int=2**127 - 1),
    UUID(int=2**128 - 1),
    UUID("0190a5b0-0000-7000-8000-000000000000"),
]
BLOBS = [b"", b"\x00", b"\x00\x00", b"\xff", b"\xff\x00", b"a", b"A", b"a\x00", b"'", b"\\", b"\\x00"]
JSON_SCALARS: list[JsonValue] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -1,
    1.5,
    0.1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    1e300,
    5e-324,
    "",
    "1",
    "true",
    "null",
    "a",
    "A",
    "ß",
    "\uffff",
    "\U00010000",
    "a%",
    '"',
]
KEYS = ["a", "b", "A", "", "a b", "0", "a.b", "$", "'", '"', "ß", "order", "\\", "a__b", "year"]

awkward = st.characters(codec="utf-8", exclude_characters="\0", min_codepoint=1) | st.sampled_from(
    "aAbßſKİı%_*\\'\" \uffff\U00010000\U0010ffff"
)
texts: Values = st.sampled_from(TEXTS) | st.text(awkward, max_size=4)
ints: Values = st.sampled_from(INTS) | st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
floats: Values = st.sampled_from(FLOATS) | st.floats(allow_nan=False, allow_infinity=False)
cents: Values = st.sampled_from(CENTS) | st.decimals(-(10**4), 10**4, places=2)
exacts: Values = st.sampled_from(EXACTS) | st.decimals(-(10**21), 10**21, places=12)
moments: Values = st.sampled_from(MOMENTS) | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from(ZONES))  # noqa: DTZ001
days: Values = st.sampled_from(DAYS) | st.dates()
clocks: Values = st.sampled_from(CLOCKS) | st.times()
spans: Values = st.sampled_from(SPANS) | st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6))
tokens: Values = st.sampled_from(TOKENS) | st.uuids()
blobs: Values = st.sampled_from(BLOBS) | st.binary(max_size=3)
keys: Values = st.sampled_from(KEYS)
json_scalars: Values = st.sampled_from(JSON_SCALARS)
json_values: Values = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)
parts: Values = st.builds(
    Part,
    title=texts,
    score=st.none() | floats,
    count=ints,
    price=st.none() | exacts,
    made=st.none() | moments,
    on=st.booleans(),
    marks=st.lists(ints, max_size=3),
)


def optional(values: Values) -> Values:
    return st.none() | values


# The type of each field: the values of filters, and what a row holds.
FILTERED: Mapping[str, Values] = {
    "id": st.integers(1, 12),
    "word": texts,
    "text": texts,
    "small": ints,
    "number": ints,
    "real": floats,
    "amount": cents,
    "exact": exacts,
    "flag": st.booleans(),
    "sure": st.booleans(),
    "moment": moments,
    "day": days,
    "clock": clocks,
    "span": spans,
    "token": tokens,
    "blob": blobs,
    "color": st.sampled_from(Color),
    "level": st.sampled_from(Level),
    "tags": st.lists(texts, max_size=3),
    "numbers": st.lists(st.none() | ints, max_size=3),
    "prices": st.lists(exacts, max_size=2),
    "data": json_values,
    "profile": st.dictionaries(keys, json_values, max_size=4),
    "times": st.dictionaries(keys, moments, max_size=2),
    "part": parts,
}
NULLABLE = {
    "text",
    "number",
    "real",
    "amount",
    "exact",
    "flag",
    "moment",
    "day",
    "clock",
    "span",
    "token",
    "blob",
    "color",
    "tags",
    "data",
    "times",
    "part",
}
TEXTUAL = ("word", "text", "color")
LISTS: Mapping[str, Values] = {"tags": texts, "numbers": st.none() | ints, "prices": exacts}
DATED = ("moment", "day")
DOCUMENTS = {"tags", "numbers", "prices", "data", "profile", "times", "part"}
SCALARS = [name for name in FILTERED if name not in DOCUMENTS]

ORDERING = ("gt", "gte", "lt", "lte")
TEXT_OPERATORS = ("contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "iexact")


def _numbered(found: list[dict[str, Any]]) -> list[Sample]:
    return [Sample(id=number, **values) for number, values in enumerate(found, 1)]


rows: Values = st.lists(
    st.fixed_dictionaries({name: optional(values) if name in NULLABLE else values for name, values in FILTERED.items() if name != "id"}),
    min_size=1,
    max_size=10,
).map(_numbered)

# Few values and many ties, so that pages break within them and where a field changes to None.
_TIED: Mapping[str, list[Any]] = {
    "text": [None, "a", "b"],
    "number": [None, 0, 1],
    "flag": [None, False],
    "small": [0, 1],
    "word": ["", "x"],
}
tied_rows: Values = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in _TIED.items()}), min_size=8, max_size=16
).map(_numbered)


# -- conditions ------------------------------------------------------------------------------------------------------------------------


def equality(name: str, path: Path, values: Values, *, none: bool) -> Values:
    """Return comparisons by equality; ``none`` says that None is a value here."""
    some = optional(values) if none else values
    return st.one_of(
        _check(name, path, ("eq", "ne"), some),
        _check(name, path, ("in", "not_in"), st.lists(some, max_size=4)),
        _check(name, path, ("is_null",), st.booleans()),
    )


def _check(name: str, path: Path, operators: tuple[str, ...], values: Values) -> Values:
    return st.builds(Check, st.just(name), st.just(path), st.sampled_from(operators), values, st.booleans())


def ordering(name: str, path: Path, values: Values) -> Values:
    return _check(name, path, ORDERING, values) | _check(name, path, ("between",), st.tuples(values, values))


def listing(name: str, path: Path, items: Values) -> Values:
    return _check(name, path, ("has",), items) | _check(name, path, ("has_any", "has_all"), st.lists(items, max_size=3))


def dating(name: str) -> Values:
    return st.one_of(
        _check(name, (), ("year",), st.sampled_from((-1, 0, 1, 2, 1969, 1970, 2000, 2024, 2025, 9999, 10000, 10**30))),
        _check(name, (), ("month",), st.integers(0, 13)),
        _check(name, (), ("day",), st.integers(0, 32)),
    )


def of_field(name: str) -> Values:
    values = FILTERED[name]
    found = [equality(name, (), values, none=True)]
    if name not in DOCUMENTS:
        found.append(ordering(name, (), values))
    if name in TEXTUAL:
        found.append(_check(name, (), TEXT_OPERATORS, texts))
    if name in LISTS:
        found.append(listing(name, (), LISTS[name]))
    if name in DATED:
        found.append(dating(name))
    return st.one_of(found)


_json_paths: Values = st.lists(keys | st.integers(0, 2), min_size=1, max_size=3).map(tuple)


def _untyped(name: str, path: Path) -> Values:
    comparable = json_scalars.filter(lambda value: value is not None)
    return st.one_of(
        equality(name, path, json_values, none=True),
        ordering(name, path, comparable),
        _check(name, path, TEXT_OPERATORS, texts),
        listing(name, path, json_values),
    )


_INSIDE: list[Values] = [
    _json_paths.flatmap(lambda path: _untyped("data", path)),
    st.tuples(keys).flatmap(lambda path: _untyped("profile", path)),
    st.tuples(keys, keys | st.integers(0, 2)).flatmap(lambda path: _untyped("profile", path)),
    keys.flatmap(lambda key: equality("times", (key,), moments, none=True) | ordering("times", (key,), moments)),
    st.integers(0, 2).flatmap(lambda place: equality("tags", (place,), texts, none=True) | ordering("tags", (place,), texts)),
    st.integers(0, 2).flatmap(lambda place: equality("numbers", (place,), ints, none=True) | ordering("numbers", (place,), ints)),
    equality("part", ("title",), texts, none=True)
    | ordering("part", ("title",), texts)
    | _check("part", ("title",), TEXT_OPERATORS, texts),
    equality("part", ("score",), floats, none=True) | ordering("part", ("score",), floats),
    equality("part", ("count",), ints, none=True) | ordering("part", ("count",), ints),
    equality("part", ("price",), exacts, none=True),
    equality("part", ("made",), moments, none=True) | ordering("part", ("made",), moments),
    equality("part", ("on",), st.booleans(), none=True),
    equality("part", ("marks",), st.lists(ints, max_size=2), none=True) | listing("part", ("marks",), ints),
    equality("part", ("marks", 0), ints, none=True) | ordering("part", ("marks", 0), ints),
]
checks: Values = st.one_of([*(of_field(name) for name in FILTERED), *_INSIDE])


def nested(depth: int) -> st.SearchStrategy[Described]:
    """Return conditions of at most that depth."""
    if not depth:
        return checks
    below = nested(depth - 1)
    both: Callable[[list[Described]], Described] = lambda items: Both(tuple(items))  # noqa: E731
    either: Callable[[list[Described]], Described] = lambda items: Either(tuple(items))  # noqa: E731
    several = st.lists(below, min_size=1, max_size=3)
    return checks | several.map(both) | several.map(either) | below.map(Opposite)


conditions = nested(3)
terms = st.builds(Term, st.sampled_from(SCALARS), st.booleans(), st.booleans())
orders: Values = st.lists(terms, max_size=3, unique_by=lambda term: term.field).map(tuple)
tied_orders: Values = st.lists(
    st.builds(Term, st.sampled_from(list(_TIED)), st.booleans(), st.booleans()), min_size=1, max_size=3, unique_by=lambda term: term.field
).map(tuple)
asked: Values = st.builds(
    Asked,
    where=st.none() | conditions,
    order=orders,
    limit=st.none() | st.integers(0, 5),
    offset=st.none() | st.integers(0, 4),
    exclude=st.booleans(),
)
