"""The databases, one module each; ``ENGINES`` is the order in which they are measured."""

from benchmarks.engine import Engine
from benchmarks.engines.mysql import MYSQL
from benchmarks.engines.postgresql import POSTGRESQL
from benchmarks.engines.sqlite import SQLITE

ENGINES: tuple[Engine, ...] = (POSTGRESQL, SQLITE, MYSQL)
