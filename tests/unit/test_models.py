"""What a model says is checked when its class is made, and every message names the way out."""

from __future__ import annotations

import warnings
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, create_model

import holdall
from holdall import ConfigurationError, Field, Index, Model
from holdall.record.metadata import model_info

KEY: Any = (int, Field(primary_key=True))


def make(**fields: Any) -> type[Model]:
    """Make a model of fields, its ``Meta`` among them."""
    meta = fields.pop("Meta", None)
    namespace: dict[str, Any] = {
        "__annotations__": {name: pair[0] for name, pair in fields.items()},
        "__module__": __name__,
        "__qualname__": "Made",
    }
    namespace |= {name: pair[1] for name, pair in fields.items()}
    if meta is not None:
        namespace["Meta"] = type("Meta", (), {**meta, "__module__": __name__, "__qualname__": "Made.Meta"})
    metaclass: Any = type(Model)
    made: type[Model] = metaclass("Made", (Model,), namespace)
    return made


@pytest.mark.parametrize("name", ["save", "delete", "refresh", "objects"])
def test_a_field_named_like_a_method_is_refused_with_the_way_out(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigurationError, match="Field\\(name=") as caught:
            make(id=KEY, **{name: (int, Field(default=0))})
    assert name in str(caught.value)
    assert "alias" in str(caught.value)


def test_the_way_out_works() -> None:
    made = make(id=KEY, save_=(bool, Field(default=False, name="save", alias="save")))

    assert model_info(made).by_name["save_"].stored_name == "save"
    assert made.model_validate({"id": 1, "save": True}).model_dump(by_alias=True) == {"id": 1, "save": True}


def test_a_field_of_a_mixin_named_like_a_method_is_refused() -> None:
    class Mixin(BaseModel):
        delete: bool = False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigurationError, match="delete"):

            class Mixed(Mixin, Model):  # type: ignore[misc]  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
                id: int = Field(primary_key=True)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": (int, Field(primary_key=True)), "Meta": {"nmae": "x"}}, "did you mean 'name'"),
    ({"id": KEY, "Meta": {"indexes": [Index("agee")]}, "age": (int, 0)}, "did you mean 'age'"),
    ({"id": KEY, "Meta": {"order_by": ["-agee"]}, "age": (int, 0)}, "did you mean 'age'"),
    ({"id": KEY, "Meta": {"indexes": [Index("tags")]}, "tags": (list[str], [])}, "cannot be indexed"),
    ({"id": KEY, "Meta": {"order_by": ["tags"]}, "tags": (list[str], [])}, "no order"),
    ({"id": KEY, "Meta": {"name": ""}}, "name"),
    ({"id": KEY, "Meta": {"name": 5}}, "name"),
    ({"id": (float, Field(primary_key=True))}, "cannot be a key"),
    ({"id": (list[int], Field(primary_key=True))}, "cannot be a key"),
    ({"id": (int | None, Field(primary_key=True))}, "cannot be None"),
    ({"id": (str | None, Field(default=None, primary_key=True, generated=True))}, "int"),
    ({"id": (int, Field(primary_key=True)), "b": (int | None, Field(default=None, primary_key=True, generated=True))}, "key"),
    ({"id": KEY, "v": (int, Field(version=True)), "w": (int, Field(version=True))}, "version"),
    ({"id": KEY, "v": (str, Field(version=True))}, "int"),
    ({"id": KEY, "v": (int | None, Field(default=None, version=True))}, "None"),
    ({"id": KEY, "t": (int, Field(default=0, auto_now=True))}, "datetime"),
    ({"id": KEY, "t": (str, Field(default="", auto_now_add=True))}, "datetime"),
    ({"id": KEY, "t": (list[str], Field(default_factory=list[str], unique=True))}, "unique"),
    ({"id": KEY, "t": (dict[str, int], Field(default_factory=dict[str, int], index=True))}, "index"),
    ({"id": KEY, "t": (set[str], Field(default_factory=set[str]))}, "cannot be stored"),
    ({"id": KEY, "t": (int | str, 0)}, "cannot be stored"),
    ({"id": KEY, "t": (dict[int, str], {})}, "str"),
    ({"id": KEY, "t": (tuple[int, int], (1, 2))}, "cannot be stored"),
    ({"id": KEY, "t": (complex, 0j)}, "cannot be stored"),
    ({"id": KEY, "t": (Decimal, Field(max_digits=35, decimal_places=2))}, "34"),
    ({"id": KEY, "a": (int, Field(default=0, name="x")), "b": (int, Field(default=0, name="X"))}, "same stored name"),
    ({"id": KEY, "a": (int, Field(default=0, references="Made", on_delete="set_null"))}, "None"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_models_that_cannot_be_right_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(**fields)
    assert said in str(caught.value)
    assert "Made" in str(caught.value)


def test_options_that_cannot_be_right_are_refused() -> None:
    wrong: Any = "explode"
    with pytest.raises(ConfigurationError):
        Field(default=0, on_delete=wrong)
    with pytest.raises(ConfigurationError):
        Index()


def test_a_model_without_a_key_is_refused_when_it_is_used() -> None:
    class Base(Model):
        name: str = ""

    with pytest.raises(ConfigurationError, match="primary_key=True"):
        model_info(Base)


def test_names_are_snake_case_and_never_inherited() -> None:
    class HTTPServerLog2(Model):
        id: int = Field(primary_key=True)

        class Meta:
            order_by = ["-id"]
            indexes = [Index("id")]

    class Child(HTTPServerLog2):
        pass

    class Other(HTTPServerLog2):
        class Meta(HTTPServerLog2.Meta):
            name = "others"

    class Third(Other):
        class Meta(Other.Meta):
            pass

    assert [model_info(model).name for model in (HTTPServerLog2, Child, Other, Third)] == ["http_server_log2", "child", "others", "third"]
    assert [model_info(model).order_by for model in (Child, Third)] == [("-id",), ("-id",)]


def test_fields_are_columns_on_the_class_and_values_on_the_instance() -> None:
    class Base(Model):
        id: int = Field(primary_key=True)
        name: str

    class Derived(Base):
        age: int | None = None

    assert repr(Derived.age) == "Derived.age"
    assert repr(Derived.name) == "Derived.name"
    assert repr(Base.name) == "Base.name"
    assert not hasattr(Base, "age")
    assert Derived(id=1, name="x").name == "x"
    assert Derived.model_fields["name"].is_required()
    with pytest.raises(ValueError, match="name"):
        Derived(id=1)  # type: ignore[call-arg]  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]


def test_pydantic_sees_nothing_of_the_storage() -> None:
    made = make(id=KEY, stamp=(datetime | None, Field(default=None, auto_now=True, description="when", name="s")))

    schema = made.model_json_schema()

    assert set(schema["properties"]) == {"id", "stamp"}
    assert schema["properties"]["stamp"]["description"] == "when"
    derived = create_model("Derived", __base__=made, extra=(int, 0))
    assert list(model_info(derived).by_name) == ["id", "stamp", "extra"]


def test_uuid7_sorts_by_time_and_is_of_version_7() -> None:
    made = [holdall.uuid7() for _ in range(10_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(value.version, value.variant) for value in made} == {(7, "specified in RFC 4122")}


def test_utc_now_is_aware() -> None:
    assert holdall.utc_now().utcoffset() is not None


class Shelf(Model):
    id: int = Field(primary_key=True)
    book: int | None = Field(default=None, references="Book")


class Book(Model):
    id: int = Field(primary_key=True)


def test_a_reference_by_name_means_the_model_of_its_own_module() -> None:
    elsewhere = type("Book", (Model,), {"__module__": "elsewhere", "__annotations__": {"id": int}, "id": Field(primary_key=True)})

    ((_, target),) = model_info(Shelf).references

    assert target.model is Book
    assert target.model is not elsewhere


def test_the_build_of_the_base_class_is_put_off_and_that_of_models_is_not() -> None:
    assert make(id=KEY).__pydantic_complete__
    assert not make(id=KEY).model_config.get("defer_build")
    assert "defer_build" not in Model.model_config
    assert Model.model_json_schema()["properties"] == {}
