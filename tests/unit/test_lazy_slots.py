"""Records that were loaded behave as pydantic's own instances, though three of their slots are filled only when somebody asks."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr

from holdall import Field, Model
from holdall.record.decoder import Decoder
from holdall.record.metadata import model_info


class Loaded(Model):
    """A record."""

    id: int = Field(primary_key=True)
    name: str = "unnamed"


class Open(Loaded):
    """One that takes extra values."""

    model_config = ConfigDict(extra="allow")


class Secret(Loaded):
    """One with a private attribute."""

    _seen: int = PrivateAttr(default=3)


def loaded(model: type[Any], *row: Any) -> Any:
    """Return a record as stores make it."""
    info = model_info(model)
    return Decoder(info, info.fields, lambda _: None).one(row)


def slot_of(record: BaseModel, name: str) -> Any:
    """Return what is in pydantic's slot, without asking the record."""
    return BaseModel.__dict__[name].__get__(record)


def test_a_loaded_record_has_no_set_of_fields_until_it_is_asked_for() -> None:
    record = loaded(Loaded, 1, "a")
    with pytest.raises(AttributeError):
        slot_of(record, "__pydantic_fields_set__")
    assert record.model_fields_set == {"id", "name"}
    assert slot_of(record, "__pydantic_fields_set__") is record.model_fields_set


def test_loaded_records_share_no_set_of_fields() -> None:
    first, second = loaded(Loaded, 1, "a"), loaded(Loaded, 2, "b")
    first.model_fields_set.discard("name")
    assert first.model_dump(exclude_unset=True) == {"id": 1}
    assert second.model_dump(exclude_unset=True) == {"id": 2, "name": "b"}


def test_a_constructed_record_knows_what_it_was_given() -> None:
    assert Loaded(id=1).model_fields_set == {"id"}
    assert Loaded(id=1).model_dump(exclude_unset=True) == {"id": 1}


def pickled(record: Loaded) -> Any:
    """Return what a pickle of the record gives."""
    return pickle.loads(pickle.dumps(record))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled, Loaded.model_copy])
def test_a_loaded_record_can_be_copied(duplicate: Callable[[Any], Any]) -> None:
    record = loaded(Loaded, 1, "a")
    found = duplicate(record)
    assert found == record == Loaded(id=1, name="a")
    assert found.model_fields_set == {"id", "name"}
    assert found.model_fields_set is not record.model_fields_set


def test_a_loaded_record_can_be_changed() -> None:
    record = loaded(Loaded, 1, "a")
    record.name = "b"
    assert (record.name, record.model_fields_set) == ("b", {"id", "name"})
    with pytest.raises(ValueError, match="valid string"):
        record.name = 5


def test_extra_values_are_none_or_a_dict_of_its_own() -> None:
    first, second = loaded(Open, 1, "a"), loaded(Open, 2, "b")
    first.note = "x"
    assert (first.model_extra, second.model_extra) == ({"note": "x"}, {})
    assert loaded(Loaded, 1, "a").model_extra is None


def test_private_attributes_have_their_defaults() -> None:
    record = loaded(Secret, 1, "a")
    assert record._seen == 3
    record._seen = 4
    assert (record._seen, loaded(Secret, 2, "b")._seen) == (4, 3)
