"""What is said to MySQL, where it differs from MariaDB: this needs no server, and each of it was tried on MySQL 9.7."""

from __future__ import annotations

from decimal import Decimal

import pytest

from holdall import ConfigurationError, Field, Index, Model, UnsupportedOperation
from holdall.query.operations import UpdateWhere
from holdall.query.predicates import TRUE, Arithmetic
from holdall.record.metadata import FieldSpec, model_info
from holdall.sql import schema
from holdall.stores.mysql.compiler import MysqlCompiler
from holdall.stores.mysql.flavours import Flavour, flavour_of
from holdall.stores.mysql.schema import schema_of

MARIADB, MYSQL = flavour_of("5.5.5-10.11.6-MariaDB"), flavour_of("8.0.36")


class Counted(Model):
    """A record with a unique text that no index can hold."""

    id: int = Field(primary_key=True)
    name: str = Field(unique=True)
    a: int = Field(default=0, index=True)
    b: int = 0
    c: int = 0

    class Meta:
        indexes = [Index("name", "a", unique=True)]


class Fine(Model):
    """A record with more decimal places than MySQL keeps."""

    id: int = Field(primary_key=True)
    value: Decimal = Field(max_digits=34, decimal_places=34)


def creation(model: type[Model], flavour: Flavour) -> str:
    """Return the statements that make the model's table."""
    info = model_info(model)
    _, tables = schema.build([info], schema_of(flavour))
    return "\n".join(schema.create_statements(tables, [info], schema_of(flavour)))


def changes(flavour: Flavour, **assignments: str | Arithmetic) -> str:
    """Return the assignments of an update in which fields take the values of others."""
    info = model_info(Counted)
    values = {info.by_name[name]: info.by_name[value] if isinstance(value, str) else value for name, value in assignments.items()}
    text = MysqlCompiler(flavour).update_where(UpdateWhere(info, TRUE, values)).text
    return text.partition(" SET ")[2]


def field(name: str) -> FieldSpec:
    """Return a field of the model."""
    return model_info(Counted).by_name[name]


def test_unique_long_texts_are_told_apart_by_a_digest_on_mysql() -> None:
    text = creation(Counted, MYSQL)
    assert 'CREATE UNIQUE INDEX uq_counted_name ON counted ((UNHEX(SHA2("name", 256))))' in text.replace("`", "")
    assert '((UNHEX(SHA2("name", 256))), a)' in text.replace("`", "")
    assert "SHA2" not in creation(Counted, MARIADB)


def test_mysql_knows_no_index_if_not_exists() -> None:
    assert "INDEX IF NOT EXISTS" in creation(Counted, MARIADB)
    assert "INDEX IF NOT EXISTS" not in creation(Counted, MYSQL)


def test_fields_are_read_before_they_are_written_on_mysql() -> None:
    assert changes(MARIADB, a="b", c="a") == '"a" = "b", "c" = "a"'
    assert changes(MYSQL, a="b", c="a") == '"c" = "a", "a" = "b"'
    assert changes(MYSQL, b=Arithmetic("+", field("b"), field("a")), a=Arithmetic("+", field("a"), 1)).startswith('"b" = ')
    assert changes(MYSQL, a=Arithmetic("+", field("a"), 1), b=Arithmetic("+", field("b"), field("a"))).startswith('"b" = ')


def test_fields_that_change_places_are_refused_on_mysql() -> None:
    assert changes(MARIADB, a="b", b="a") == '"a" = "b", "b" = "a"'
    with pytest.raises(UnsupportedOperation, match="one field after another, and a, b are computed from one another"):
        changes(MYSQL, a="b", b="a")


def test_decimals_of_more_than_thirty_places_are_refused_on_mysql() -> None:
    assert "34" in creation(Fine, MARIADB)
    with pytest.raises(ConfigurationError, match=r"Fine.value: MySQL keeps at most 30 decimal places, not 34"):
        creation(Fine, MYSQL)
