"""The server folds as Python does: on every code point, and where folds touch one another."""

import asyncio
import random
import sys

import asyncpg

from holdall.stores.postgres.casefold import casefold_sql, function_name, statements

SURROGATES = range(0xD800, 0xE000)


async def test_every_code_point_folds_as_in_python(fresh_postgres_url: str) -> None:
    connection = await asyncpg.connect(fresh_postgres_url)
    for statement in statements():
        await connection.execute(statement)
    texts = [chr(point) for point in range(1, sys.maxunicode + 1) if point not in SURROGATES]

    rows = await connection.fetch(f"select x, {casefold_sql('x')} folded from unnest($1::text[]) x", texts)

    assert [row["x"] for row in rows if row["folded"] != row["x"].casefold()] == []
    await connection.close()


async def test_mixed_texts_fold_as_in_python(fresh_postgres_url: str) -> None:
    connection = await asyncpg.connect(fresh_postgres_url)
    for statement in statements():
        await connection.execute(statement)
    random_ = random.Random(7)
    alphabet = "aZ ß'\\%ŉΣςσİıǰΐÅ\u0345\u0308ﬃẞᾳ\U0001f600\U00010400" + "".join(chr(random_.randrange(0xC0, 0x2000)) for _ in range(200))
    texts = ["", *("".join(random_.choices(alphabet, k=random_.randrange(1, 30))) for _ in range(3000))]

    rows = await connection.fetch(f"select x, {casefold_sql('x')} folded from unnest($1::text[]) x", texts)

    assert [row["x"] for row in rows if row["folded"] != row["x"].casefold()] == []
    assert await connection.fetchval(f"select {casefold_sql('null')}") is None
    await connection.close()


async def test_ten_tasks_may_create_it_at_once_and_again(fresh_postgres_url: str) -> None:
    connections = [await asyncpg.connect(fresh_postgres_url) for _ in range(10)]

    for _ in range(2):
        await asyncio.gather(*(connection.execute(statement) for connection in connections for statement in statements()))

    assert await connections[0].fetchval("select count(*) from pg_proc where proname = $1", function_name()) == 1
    for connection in connections:
        await connection.close()


async def test_an_expression_index_serves_it(fresh_postgres_url: str) -> None:
    connection = await asyncpg.connect(fresh_postgres_url)
    for statement in statements():
        await connection.execute(statement)
    await connection.execute('create table people (id int, name text collate "C")')
    await connection.execute("insert into people select i, 'N' || i from generate_series(1, 5000) i")
    await connection.execute(f"create index people_folded on people ({casefold_sql('name')})")
    await connection.execute("analyze people")

    for condition in ("= 'n5'", ">= 'n5' and {0} < 'n6'"):
        folded = casefold_sql("name")
        plan = await connection.fetch(f"explain (costs off) select id from people where {folded} {condition.format(folded)}")
        assert any("people_folded" in row[0] for row in plan), plan
    await connection.close()
