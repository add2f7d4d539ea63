"""The anomalies of each level: they occur or not as the engine's table says, and the documentation shows that table."""

from __future__ import annotations

import pytest

from holdall import Backend
from tests.stress.anomalies import ANOMALIES, Spot, observe
from tests.stress.engines import Facts, Witness
from tests.stress.engines.facts import LEVELS
from tests.stress.isolation_page import tables, tables_of_page

MODELS = (Spot,)


@pytest.mark.parametrize("place", range(len(LEVELS)), ids=LEVELS)
async def test_anomalies_occur_or_not_as_documented(backend: Backend, witness: Witness, facts: Facts, place: int) -> None:
    seen = {anomaly: await observe(backend, witness, anomaly, LEVELS[place]) for anomaly in ANOMALIES}

    assert seen == {anomaly: cells[place] for anomaly, cells in facts.isolation.items()}


async def test_the_default_level_is_read_committed(backend: Backend, witness: Witness, facts: Facts) -> None:
    seen = {anomaly: await observe(backend, witness, anomaly, None) for anomaly in ANOMALIES}

    assert seen == {anomaly: cells[0] for anomaly, cells in facts.isolation.items()}


def test_the_page_shows_what_was_observed() -> None:
    assert tables_of_page() == tables(), "run: python -m tests.stress.isolation_page"
