"""Texts of composed keys: injective, and in the order of the values."""

from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdall.record.types import FieldType, Kind
from holdall.record.values import plain_scalar
from holdall.stores.dynamodb.keys import PLAIN, READABLE, Style, float_text, part_text, read_float

texts = st.text(st.sampled_from('#$\x01\x02\x03 ab"!%\uffff\U00010000') | st.characters(exclude_characters="\0", codec="utf-8"), max_size=5)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BOOL: st.booleans(),
    Kind.INT: st.integers(-(2**63), 2**63 - 1),
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    Kind.STR: texts,
    Kind.BYTES: st.binary(max_size=4),
    Kind.DECIMAL: st.decimals(-(10**21), 10**21, places=12),
    Kind.UUID: st.uuids(),
    Kind.DATE: st.dates(),
    Kind.DATETIME: st.datetimes(timezones=st.just(UTC)),
    Kind.TIME: st.times(),
    Kind.TIMEDELTA: st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)),
}


@pytest.mark.parametrize("style", [PLAIN, READABLE], ids=["plain", "readable"])
@pytest.mark.parametrize("kind", list(VALUES), ids=lambda kind: kind.name)
def test_parts_keep_the_order_of_their_values_whatever_follows(kind: Kind, style: Style) -> None:
    of_kind = FieldType(kind)

    @settings(max_examples=200, deadline=None)
    @given(one=VALUES[kind], other=VALUES[kind], after=texts, behind=texts)
    def check(one: Any, other: Any, after: str, behind: str) -> None:
        one, other = plain_scalar(of_kind, one), plain_scalar(of_kind, other)
        left, right = part_text(of_kind, one, style), part_text(of_kind, other, style)
        assert (left == right) == (one == other)
        assert style.separator not in left
        if one != other:
            whole = [text + style.separator + style.escape(tail) for text, tail in ((left, after), (right, behind))]
            assert (whole[0].encode() < whole[1].encode()) == (one < other)
            # What stands above every key of a part stands below the next.
            assert (left + style.above).encode() <= right.encode() or other < one

    check()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back(value: float) -> None:
    assert read_float(float_text(value)) == value


def test_decimals_of_34_digits_are_exact() -> None:
    of_kind = FieldType(Kind.DECIMAL)
    values = [Decimal("9999999999999999999999.999999999999"), Decimal("9999999999999999999999.999999999998"), Decimal("-0.000000000001")]
    found = [part_text(of_kind, value, PLAIN) for value in values]
    assert sorted(found) == [found[2], found[1], found[0]]
    assert len(set(found)) == 3
