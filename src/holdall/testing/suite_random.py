"""Random queries against the oracle: the same answer, or a refusal. The numbers are the same in every run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import UnsupportedOperation
from holdall.query.evaluate import evaluate
from holdall.query.expressions import Condition, Q
from holdall.testing.suite_checks import Checks, identify
from holdall.testing.suite_models import Sample
from holdall.testing.suite_values import DOCUMENTS, SCALARS

C = Capability
CHECKS = Checks()
_POOLS = dict([*SCALARS.values(), *DOCUMENTS.values()])
_TEXT = ("contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "iexact")
_ORDER = ("lt", "lte", "gt", "gte")
_SCALARS = [field for field, _ in SCALARS.values()]


class Draws:
    """Random rows, conditions and orders."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def rows(self, count: int) -> list[Sample]:
        """Return records whose fields are often equal and often None."""
        pools = {field: values[:6] for field, values in _POOLS.items()}
        return [
            Sample.model_validate({"id": number, **{field: self._random.choice(pool) for field, pool in pools.items()}})
            for number in range(count)
        ]

    def condition(self, depth: int) -> Condition:
        """Return a condition of conditions."""
        kind = self._random.randrange(4) if depth else 0
        if kind == 0:
            return self._leaf()
        if kind == 1:
            return ~self.condition(depth - 1)
        left, right = self.condition(depth - 1), self.condition(depth - 1)
        return left | right if kind == 2 else left & right

    def _leaf(self) -> Q:
        field = self._random.choice(list(_POOLS))
        pool = [value for value in _POOLS[field][:6] if value is not None]
        operators = ["eq", "ne", "in", "not_in", "is_null"]
        if field in _SCALARS:
            operators += [*_ORDER, "between"]
        if field == "text":
            operators += _TEXT
        operator = self._random.choice(operators)
        return Q(**{f"{field}__{operator}": self._value(operator, pool)})

    def _value(self, operator: str, pool: Sequence[Any]) -> Any:
        if operator == "is_null":
            return self._random.random() < 0.5
        if operator == "between":
            return self._random.choice(pool), self._random.choice(pool)
        none = [] if operator in (*_ORDER, *_TEXT) else [None]
        if operator in ("in", "not_in"):
            return self._random.choices([*pool, *none], k=self._random.randrange(4))
        return self._random.choice([*pool, *none])

    def order(self) -> list[str]:
        """Return up to three terms."""
        fields = self._random.sample(_SCALARS, k=self._random.randrange(1, 4))
        return [self._random.choice(("", "-")) + field for field in fields]


@CHECKS.of(Sample, needs=(C.FILTER,))
async def test_random_conditions_agree_with_the_oracle(backend: Backend) -> None:
    """R1 to R11."""
    draws = Draws(1)
    records = draws.rows(25)
    await backend.create_many([record.model_copy(deep=True) for record in records])
    for _ in range(200):
        query = backend.query(Sample).filter(draws.condition(3))
        try:
            found = sorted(record.id for record in await query)
        except UnsupportedOperation:
            continue
        wanted = sorted(record.id for record in evaluate(query, records))
        assert found == wanted, f"{query!r} gave {found}, not {wanted}"


@CHECKS.of(Sample, needs=(C.FILTER, C.ORDER, C.OFFSET))
async def test_random_orders_and_windows_agree_with_the_oracle(backend: Backend) -> None:
    """R5."""
    draws = Draws(2)
    records = draws.rows(25)
    await backend.create_many([record.model_copy(deep=True) for record in records])
    for number in range(60):
        query = backend.query(Sample).order_by(*draws.order())
        query = query.limit(number % 9).offset(number % 5) if number % 2 else query
        wanted = [record.id for record in evaluate(query, records)]
        assert await identify(query) == wanted, repr(query)
