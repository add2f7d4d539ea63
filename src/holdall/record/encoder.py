"""Records into plain rows: one generated function per model, with the checks of each kind inlined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from holdall.errors import ValidationError
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.record.values import INT_MAX, INT_MIN, WrongTypeError, decimal_test

Encode = Callable[[Mapping[str, Any]], tuple[Any, ...]]

# When the test holds, the value needs a closer look; ``v`` stands for the variable.
_SUSPICIOUS: Mapping[Kind, str] = {
    Kind.BOOL: "v is not True and v is not False",
    Kind.INT: f"type(v) is not int or not {INT_MIN} <= v <= {INT_MAX}",
    Kind.FLOAT: "type(v) is not float or v - v != 0.0 or v == 0.0",
    Kind.STR: "type(v) is not str or '\\0' in v or not v.isascii()",
    Kind.BYTES: "type(v) is not bytes",
    Kind.UUID: "type(v) is not UUID",
    Kind.DATE: "type(v) is not date",
    Kind.DATETIME: "type(v) is not datetime or v.tzinfo is not UTC",
    Kind.TIME: "type(v) is not time or v.tzinfo is not None or v.fold",
    Kind.TIMEDELTA: "True",
    Kind.DECIMAL: "not fits(v)",
    Kind.DOCUMENT: "True",
}
_NAMES = {"UUID": UUID, "UTC": UTC, "date": date, "datetime": datetime, "time": time, "timedelta": timedelta}


def checked(info: ModelInfo, spec: FieldSpec) -> Callable[[Any], Any]:
    """Return the function from a field's value to its plain value, with errors that name model and field."""

    def check(value: Any) -> Any:
        try:
            return spec.plain(value)
        except WrongTypeError as exc:
            msg = f"{value!r} is not {spec.type}"
            raise ValidationError(msg, model=info.label, field=spec.name, value=value) from exc
        except ValidationError as exc:
            raise ValidationError(str(exc), model=info.label, field=spec.name, value=exc.value) from exc

    return check


def build_encoder(info: ModelInfo) -> Encode:
    """Return the function from an instance's ``__dict__`` to its plain row.

    The function raises ``ValidationError`` for a value that no store may keep, and for one that is missing.
    """
    names: dict[str, Any] = dict(_NAMES)
    lines = ["def encode(d):", " try:"]
    lines += [f"  v{spec.position} = d[{spec.name!r}]" for spec in info.fields]
    lines.append(" except KeyError as exc: missing(exc)")
    for spec in info.fields:
        variable = f"v{spec.position}"
        names[f"check{spec.position}"] = checked(info, spec)
        if spec.type.kind is Kind.DECIMAL:
            names[f"fits{spec.position}"] = decimal_test(spec.type)
        lines.append(" " + _line(spec, variable))
    lines.append(f" return ({''.join(f'v{spec.position},' for spec in info.fields)})")

    def missing(exc: KeyError) -> None:
        msg = "the field has no value"
        raise ValidationError(msg, model=info.label, field=exc.args[0]) from exc

    names["missing"] = missing
    exec("\n".join(lines), names)  # noqa: S102  - generated from the model's own field names, quoted with repr
    return names["encode"]  # type: ignore[no-any-return]


def _line(spec: FieldSpec, variable: str) -> str:
    test = "True" if spec.type.enum is not None else _SUSPICIOUS[spec.type.kind]
    test = test.replace("v.", f"{variable}.").replace("fits(", f"fits{spec.position}(")
    test = " ".join(variable if word == "v" else word for word in test.replace("(v)", f"({variable})").split(" "))
    may_be_none = spec.nullable or spec.storage.generated
    if test == "True":
        test = f"{variable} is not None" if may_be_none else "True"
    elif may_be_none:
        test = f"{variable} is not None and ({test})"
    return f"if {test}: {variable} = check{spec.position}({variable})"


@lru_cache(maxsize=4096)
def encoder(info: ModelInfo) -> Encode:
    """Return the encoder of a model, made once."""
    return build_encoder(info)


def encode(info: ModelInfo, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the plain row of a record's values by field name."""
    return encoder(info)(values)
