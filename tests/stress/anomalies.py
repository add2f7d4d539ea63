"""The anomalies of the Hermitage list, each as the steps that bring it about where a level allows it.

The names are Adya's; the steps follow https://github.com/ept/hermitage. A level forbids an anomaly by what a session reads (it sees another
state), by making one session wait, or by an error; ``observe`` tells which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdall import Backend, F, Field, Model, Session
from holdall.store import Isolation
from tests.stress.engines import Witness
from tests.stress.stage import Player, Stage, Step, staged


class Spot(Model):
    id: int = Field(primary_key=True)
    value: int

    class Meta:
        name = "isolation_spot"


# -- steps -------------------------------------------------------------------------------------------------------------------------------


def read(key: int) -> Step:
    async def step(session: Session) -> int:
        return (await session.get(Spot, key)).value

    return step


def read_all(**lookups: Any) -> Step:
    async def step(session: Session) -> dict[int, int]:
        return {spot.id: spot.value for spot in await session.query(Spot).filter(**lookups).order_by("id")}

    return step


def write(key: int, value: int) -> Step:
    return lambda session: session.query(Spot).filter(id=key).update(value=value)


def insert(key: int, value: int) -> Step:
    return lambda session: session.create(Spot(id=key, value=value))


def delete(**lookups: Any) -> Step:
    return lambda session: session.query(Spot).filter(**lookups).delete()


async def commit(session: Session) -> None:
    await session.commit()


async def rollback(session: Session) -> None:
    await session.rollback()


def all_went_well(*players: Player) -> bool:
    return all(player.error is None for player in players)


# -- anomalies: row 1 holds 10, row 2 holds 20; each tells whether it has come about -----------------------------------------------------


async def write_cycles(stage: Stage, one: Player, two: Player) -> bool:
    await one(write(1, 11))
    await two(write(1, 12))
    await one(write(2, 21))
    await one(commit)
    await two(write(2, 22))
    await two(commit)
    await stage.finish()
    left = {spot.id: spot.value for spot in await stage.backend.query(Spot)}
    return left not in ({1: 11, 2: 21}, {1: 12, 2: 22})


async def aborted_reads(stage: Stage, one: Player, two: Player) -> bool:
    await one(write(1, 101))
    before = await two(read(1))
    await one(rollback)
    after = await two(read(1))
    await two(commit)
    await stage.finish()
    return 101 in (before.result(), after.result())


async def intermediate_reads(stage: Stage, one: Player, two: Player) -> bool:
    await one(write(1, 101))
    seen = await two(read(1))
    await one(write(1, 11))
    await one(commit)
    await two(commit)
    await stage.finish()
    return bool(seen.result() == 101)


async def circular_information_flow(stage: Stage, one: Player, two: Player) -> bool:
    await one(write(1, 11))
    await two(write(2, 22))
    by_one = await one(read(2))
    by_two = await two(read(1))
    await one(commit)
    await two(commit)
    await stage.finish()
    return (by_one.result(), by_two.result()) == (22, 11)


async def observed_transaction_vanishes(stage: Stage, one: Player, two: Player, three: Player) -> bool:
    await one(write(1, 11))
    await one(write(2, 19))
    await two(write(1, 12))
    await one(commit)
    first = await three(read(1))
    await two(write(2, 18))
    second = await three(read(2))
    await two(commit)
    third = await three(read(2))
    fourth = await three(read(1))
    await three(commit)
    await stage.finish()
    return (first.result(), second.result()) == (11, 18) or (third.result(), fourth.result()) == (18, 11)


async def predicate_many_preceders(stage: Stage, one: Player, two: Player) -> bool:
    before = await one(read_all(value=30))
    await two(insert(3, 30))
    await two(commit)
    after = await one(read_all(value__gte=30))
    await one(commit)
    await stage.finish()
    return bool(before.result() != after.result())


async def predicate_many_preceders_of_a_write(stage: Stage, one: Player, two: Player) -> bool:
    await one(lambda session: session.query(Spot).update(value=F("value") + 10))
    await two(delete(value=20))
    await one(commit)
    left = await two(read_all(value=20))
    await two(commit)
    await stage.finish()
    return bool(left.result())


async def lost_update(stage: Stage, one: Player, two: Player) -> bool:
    by_one = await one(read(1))
    by_two = await two(read(1))
    await one(write(1, 11))
    await two(write(1, 11))
    await one(commit)
    await two(commit)
    await stage.finish()
    return all_went_well(one, two) and bool(by_one.result() == by_two.result())


async def lost_update_of_rows_read_with_a_lock(stage: Stage, one: Player, two: Player) -> bool:
    locking: Step = lambda session: session.get(Spot, 1, lock=True)  # noqa: E731 - the type of the step is that of the others
    by_one = await one(locking)
    by_two = await two(locking)
    await one(write(1, 11))
    await one(commit)
    await two(write(1, 12))
    await two(commit)
    await stage.finish()
    return all_went_well(one, two) and bool(by_one.result().value == by_two.result().value)


async def read_skew(stage: Stage, one: Player, two: Player) -> bool:
    first = await one(read(1))
    await two(read_all())
    await two(write(1, 12))
    await two(write(2, 18))
    await two(commit)
    second = await one(read(2))
    await one(commit)
    await stage.finish()
    return (first.result(), second.result()) == (10, 18)


async def read_skew_of_a_write(stage: Stage, one: Player, two: Player) -> bool:
    await one(read(1))
    await two(read_all())
    await two(write(1, 12))
    await two(write(2, 18))
    await two(commit)
    count = await one(delete(value=20))
    await one(commit)
    await stage.finish()
    return all_went_well(one) and count.result() == 0


async def write_skew(stage: Stage, one: Player, two: Player) -> bool:
    by_one = await one(read_all(id__in=[1, 2]))
    by_two = await two(read_all(id__in=[1, 2]))
    await one(write(1, 11))
    await two(write(2, 21))
    await one(commit)
    await two(commit)
    await stage.finish()
    return all_went_well(one, two) and bool(by_one.result() == by_two.result())


async def anti_dependency_cycle(stage: Stage, one: Player, two: Player) -> bool:
    by_one = await one(read_all(value__gte=30))
    by_two = await two(read_all(value__gte=30))
    await one(insert(3, 30))
    await two(insert(4, 42))
    await one(commit)
    await two(commit)
    await stage.finish()
    return all_went_well(one, two) and by_one.result() == by_two.result() == {}


async def anti_dependency_cycle_seen_by_a_reader(stage: Stage, one: Player, two: Player, three: Player) -> bool:
    by_one = await one(read_all())
    await two(write(2, 25))
    await two(commit)
    by_three = await three(read_all())
    await three(commit)
    await one(write(1, 0))
    await one(commit)
    await stage.finish()
    return all_went_well(one) and (by_one.result(), by_three.result()) == ({1: 10, 2: 20}, {1: 10, 2: 25})


Anomaly = Callable[..., Awaitable[bool]]
ANOMALIES: dict[str, tuple[str, Anomaly, int]] = {  # name: what it is, its steps, the number of sessions
    "G0": ("write cycles (dirty writes)", write_cycles, 2),
    "G1a": ("aborted reads (dirty reads)", aborted_reads, 2),
    "G1b": ("intermediate reads", intermediate_reads, 2),
    "G1c": ("circular information flow", circular_information_flow, 2),
    "OTV": ("observed transaction vanishes", observed_transaction_vanishes, 3),
    "PMP": ("predicate-many-preceders (phantoms)", predicate_many_preceders, 2),
    "PMP, write": ("the same, of a delete by query", predicate_many_preceders_of_a_write, 2),
    "P4": ("lost update", lost_update, 2),
    "P4, locked": ("the same, read with `lock=True`", lost_update_of_rows_read_with_a_lock, 2),
    "G-single": ("read skew", read_skew, 2),
    "G-single, write": ("the same, of a delete by query", read_skew_of_a_write, 2),
    "G2-item": ("write skew", write_skew, 2),
    "G2": ("write skew by predicates", anti_dependency_cycle, 2),
    "G2, read-only": ("seen by a session that only reads", anti_dependency_cycle_seen_by_a_reader, 3),
}


async def observe(backend: Backend, witness: Witness, anomaly: str, level: Isolation | None) -> str:
    """Try to bring an anomaly about; return "yes", or "no" and how it was prevented."""
    _, steps, count = ANOMALIES[anomaly]
    await backend.clear(Spot)
    await backend.create_many([Spot(id=1, value=10), Spot(id=2, value=20)])
    async with staged(backend, witness, count, isolation=level) as stage:
        occurred = await steps(stage, *stage.players)
    if occurred:
        return "yes"
    ways = ["waits"] if any(player.waited for player in stage.players) else []
    ways += sorted({type(player.error).__name__ for player in stage.players if player.error is not None})
    return f"no: {', then '.join(ways)}" if ways else "no"
