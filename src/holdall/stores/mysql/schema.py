"""Tables of MariaDB and MySQL: InnoDB, and types that keep every value exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from holdall.errors import ConfigurationError
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.sql.naming import quote
from holdall.sql.schema import SchemaDialect
from holdall.stores.mysql.flavours import Flavour
from holdall.stores.mysql.limits import index_prefixes, text_lengths

_TYPES: Mapping[Kind, Callable[[], sa.types.TypeEngine[Any]]] = {
    Kind.BOOL: lambda: mysql.TINYINT(1),
    Kind.INT: mysql.BIGINT,
    Kind.FLOAT: mysql.DOUBLE,
    Kind.UUID: lambda: sa.BINARY(16),
    Kind.DATE: sa.Date,
    Kind.DATETIME: lambda: mysql.DATETIME(fsp=6),
    Kind.TIME: lambda: mysql.TIME(fsp=6),
    Kind.TIMEDELTA: mysql.BIGINT,
}


def _checks(spec: FieldSpec) -> Iterable[str]:
    if spec.type.kind is Kind.BOOL:
        yield f"{quote(spec.stored_name)} IN (0, 1)"


def _literal(_: FieldSpec, value: Any) -> str:
    if isinstance(value, float):
        text = repr(value)
        return text if "e" in text else text + "e0"
    return format(value, "f") if isinstance(value, Decimal) else str(int(value))


@cache
def schema_of(flavour: Flavour) -> SchemaDialect:
    """Return the tables' dialect of a flavour."""

    def type_of(info: ModelInfo, spec: FieldSpec) -> sa.types.TypeEngine[Any]:
        if spec.type.kind is Kind.DECIMAL:
            if spec.type.places > flavour.decimal_places:
                most = f"{flavour.name} keeps at most {flavour.decimal_places} decimal places"
                raise ConfigurationError(f"{info.label}.{spec.name}: {most}, not {spec.type.places}")
            return mysql.DECIMAL(spec.type.digits, spec.type.places)
        make = _TYPES.get(spec.type.kind)
        if make is not None:
            return make()
        size = text_lengths(info).get(spec)
        if spec.type.kind is Kind.BYTES:
            return mysql.LONGBLOB() if size is None else mysql.VARBINARY(size)
        return mysql.LONGTEXT(collation=flavour.collation) if size is None else mysql.VARCHAR(size, collation=flavour.collation)

    return SchemaDialect(
        dialect=mysql.dialect(paramstyle="named"),
        type_of=type_of,
        checks=_checks,
        literal=_literal,
        length="CHAR_LENGTH",
        table_options={"mysql_engine": "InnoDB", "mysql_default_charset": "utf8mb4", "mysql_collate": flavour.collation},
        generated=tuple,
        nulls_last_in_index=False,
        prefixes=index_prefixes,
        digest=flavour.digest,
        index_if_not_exists=flavour.index_if_not_exists,
    )
