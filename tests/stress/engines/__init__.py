"""The engines that the evidence is taken from, one module of facts each; a further engine is one import and one line here."""

from __future__ import annotations

from dataclasses import replace

from tests.stress.engines import mysql, postgres, sqlite
from tests.stress.engines.facts import APPLICATION, Facts, Witness

ENGINES: dict[str, Facts] = {facts.name: facts for facts in (sqlite.FACTS, postgres.FACTS, mysql.FACTS)}
OTHER_DRIVERS: dict[str, Facts] = {"asyncmy": replace(mysql.FACTS, name="asyncmy", label="MariaDB through asyncmy")}
SERVERS = [name for name, facts in ENGINES.items() if facts.message_ends is not None]
MANY_WRITERS = [name for name, facts in ENGINES.items() if not facts.one_writer]

__all__ = ("APPLICATION", "ENGINES", "MANY_WRITERS", "OTHER_DRIVERS", "SERVERS", "Facts", "Witness")
