"""What ``Field`` takes, beside a default and in ``Annotated``, on every pydantic."""

from typing import Annotated

import pytest
from pydantic import BaseModel, PrivateAttr

import holdall
from holdall import Field, Model
from holdall.record.metadata import FieldSpec, model_info

Number = Annotated[int, Field(index=True, ge=0)]


class Entry(Model):
    id: Annotated[int, Field(primary_key=True)]
    plain: Number = 1
    described: Number = Field(default=2, description="shown in the schema")
    both: Number = Field(default=3, unique=True)
    label: str = Field(default="", alias="outside")
    _note: str = PrivateAttr(default="kept")


class Brief(BaseModel):
    plain: int
    _note: str = PrivateAttr(default="made")


def spec(name: str) -> FieldSpec:
    return model_info(Entry).field(name)


def test_options_in_annotated_count() -> None:
    assert [key.name for key in model_info(Entry).key] == ["id"]
    assert spec("plain").storage.index


def test_a_default_field_adds_to_annotated_and_takes_nothing_away() -> None:
    assert spec("described").storage.index
    assert (spec("both").storage.index, spec("both").storage.unique) == (True, True)


def test_an_unknown_option_is_refused_with_the_near_miss() -> None:
    with pytest.raises(holdall.ConfigurationError, match="'primry_key'; did you mean 'primary_key'"):
        Field(primry_key=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def test_a_strict_read_validates_by_name_where_a_field_has_an_alias() -> None:
    async with holdall.open("memory://") as backend:
        await backend.initialize(Entry)
        await backend.create(Entry(id=1, outside="x"))

        assert (await backend.get(Entry, 1, strict=True)).label == "x"


async def test_loaded_objects_have_their_private_attributes() -> None:
    async with holdall.open("memory://") as backend:
        await backend.initialize(Entry)
        await backend.create(Entry(id=1))

        assert (await backend.get(Entry, 1))._note == "kept"
        assert (await backend.query(Entry).into(Brief))[0]._note == "made"
