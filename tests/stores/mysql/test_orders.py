"""Orders by long texts: the server sorts with a buffer that must have room for fifteen keys."""

from __future__ import annotations

import pytest

import holdall
from holdall import Field, LimitExceeded, Model
from tests.servers import Proxy


class Wide(Model):
    """A record of unbounded texts."""

    id: int = Field(primary_key=True)
    blob: bytes = b""
    t0: str = ""
    t1: str = ""
    t2: str = ""
    t3: str = ""
    t4: str = ""
    t5: str = ""
    t6: str = ""
    t7: str = ""
    t8: str = ""
    t9: str = ""
    t10: str = ""
    t11: str = ""
    t12: str = ""
    t13: str = ""
    t14: str = ""
    t15: str = ""


TEXTS = [f"t{number}" for number in range(15)]


async def test_many_unbounded_texts_can_be_ordered_by(driver_url: str) -> None:
    async with holdall.open(driver_url) as backend:
        await backend.initialize(Wide)
        try:
            await backend.create_many([Wide(id=number, t14="x" * 60_000 + str(-number % 7)) for number in range(40)])
            found = await backend.query(Wide).order_by(*TEXTS, "blob")
        finally:
            await backend.drop(Wide)
    assert [wide.id for wide in found] == sorted(range(40), key=lambda number: (-number % 7, number))


async def test_more_of_them_are_refused_before_any_io(proxy: Proxy, driver_url: str) -> None:
    async with holdall.open(proxy.url(driver_url)) as backend:
        before = proxy.bytes_sent
        with pytest.raises(LimitExceeded, match="texts without a max_length"):
            await backend.query(Wide).order_by(*TEXTS, "t15", "blob")
        assert proxy.bytes_sent == before
