"""``build`` and ``create``: valid records of a model, of which a test names only the fields that it is about."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

from holdall.data_access import DataAccess
from holdall.errors import ConfigurationError
from holdall.naming import near_miss
from holdall.record.metadata import FieldSpec, ModelInfo, model_info
from holdall.record.record import Record
from holdall.testing.values import NoValueError, Wanted, argument

M = TypeVar("M", bound=Record)
_numbers: Counter[type[Record]] = Counter()


def build(model: type[M], /, **values: Any) -> M:
    """Return a new record, not stored: the values given, and one made up for every required field that is not among them.

    The n-th record of a model gets the n-th value of each field (``"name 1"``, ``"name 2"`` …), which keeps the field's constraints and is
    different each time where the type has room. Fields with a default get it. For a reference, a record counts as its key.

    Raises:
        ConfigurationError: no valid value is known (a pattern, a reference, an unknown type); the text names the field to pass.
    """
    info = model_info(model)
    _check_names(info, values)
    _numbers[model] += 1
    found = {spec.name: _given(spec, info, values[spec.name]) for spec in info.fields if spec.name in values}
    found |= {spec.name: _made_up(info, spec, _numbers[model]) for spec in _required(info, values)}
    return model(**{_argument(spec): found[spec.name] for spec in info.fields if spec.name in found})


async def create(backend: DataAccess, model: type[M], /, **values: Any) -> M:
    """Store a record as ``build`` makes it, and before it one of each model that a required reference needs; return it.

    Args:
        backend: a backend or a session.
        values: as of ``build``.
    """
    info = model_info(model)
    _check_names(info, values)
    parents = {spec.name: target for spec, target in info.references if _needs_parent(spec)}
    for spec in _required(info, values):
        if spec.name in parents and parents[spec.name] is not info:
            values[spec.name] = await create(backend, parents[spec.name].model)
    return await backend.create(build(model, **values))


def restart_numbers() -> None:
    """Begin again with the first values of every model; the plugin does it for every test."""
    _numbers.clear()


def _check_names(info: ModelInfo, values: dict[str, Any]) -> None:
    for name in values.keys() - info.by_name.keys():
        msg = f"{info.label} has no field {name!r}{near_miss(name, info.by_name)}"
        raise ConfigurationError(msg)


def _required(info: ModelInfo, values: dict[str, Any]) -> list[FieldSpec]:
    return [spec for spec in info.fields if spec.info.is_required() and spec.name not in values]


def _needs_parent(spec: FieldSpec) -> bool:
    return spec.reference is not None and spec.reference.enforce


def _given(spec: FieldSpec, info: ModelInfo, value: Any) -> Any:
    if spec.reference is None or not isinstance(value, Record):
        return value
    target = next(target for other, target in info.references if other is spec)
    if not isinstance(value, target.model):
        msg = f"{info.label}.{spec.name} refers to {target.label}, not to {type(value).__name__}"
        raise ConfigurationError(msg)
    return getattr(value, target.key[0].name)


def _made_up(info: ModelInfo, spec: FieldSpec, n: int) -> Any:
    if _needs_parent(spec):
        if spec.nullable:
            return None
        target = next(target for other, target in info.references if other is spec)
        msg = f"{info.label}.{spec.name} refers to {target.label}: pass {spec.name}=…, or let create() store one"
        raise ConfigurationError(msg)
    alone = any(fields == (spec,) for fields in (info.key, *info.uniques))
    try:
        value = Wanted.of_field(spec.name, spec.info, unique=alone).value(n)
    except NoValueError as error:
        raise _refusal(info, spec, str(error)) from None
    if not spec.accepts(value):
        raise _refusal(info, spec, f"{value!r} is not valid")
    return value


def _refusal(info: ModelInfo, spec: FieldSpec, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot make up a value for {info.label}.{spec.name}: {reason}; pass {spec.name}=…")


def _argument(spec: FieldSpec) -> str:
    return argument(spec.name, spec.info)
