"""``str.casefold`` in SQL: the text of an immutable function that folds every code point as this Python does.

ICU's ``lower`` differs on hundreds of code points, so the tables are Python's own. Their digest is part of the function's name: processes
with other Unicode tables use a function, and expression indexes, of their own.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import unicodedata


@functools.cache
def function_name() -> str:
    """Name the function; equal in every process whose Python folds alike."""
    single, several = _folds()
    digest = hashlib.blake2s(repr((sorted(single.items()), sorted(several.items()))).encode(), digest_size=4)
    return f"holdall_casefold_{digest.hexdigest()}"


def casefold_sql(expression: str) -> str:
    """Return the SQL of an expression folded; fit for conditions and for expression indexes."""
    return f"{function_name()}({expression})"


@functools.cache
def statements() -> tuple[str, ...]:
    """Return the statements that create the function where it is missing; any number of tasks may run them at once.

    They want a database in UTF8, the only encoding in which every code point can be folded.
    """
    name = function_name()
    # A second creator waits for the first one's transaction, then meets its row: both outcomes are what was wanted.
    create = f"""do $holdall$ begin
if to_regprocedure('{name}(text)') is null then
create function {name}(x text) returns text language sql immutable strict parallel safe as $fold${_body()}$fold$;
comment on function {name}(text) is 'case folding of Unicode {unicodedata.unidata_version}, made by holdall';
end if;
exception when duplicate_function or unique_violation then null;
end $holdall$"""
    return (create,)


def _body() -> str:
    single, several = _folds()
    translated = f"translate(x collate \"C\", '{''.join(single)}', '{''.join(single.values())}')"
    replaced = functools.reduce(lambda inner, fold: f"replace({inner}, '{fold[0]}', '{fold[1]}')", several.items(), translated)
    # Three ways, cheapest first: ASCII alone (one byte a character), folds of one to one, and all the others.
    return f"""
select case
when octet_length(x) = length(x) then lower(x collate "C")
when x collate "C" !~ '[{"".join(several)}]' then {translated}
else {replaced}
end
"""


@functools.cache
def _folds() -> tuple[dict[str, str], dict[str, str]]:
    folds = {character: folded for character in map(chr, range(sys.maxunicode + 1)) if (folded := character.casefold()) != character}
    single = {character: folded for character, folded in folds.items() if len(folded) == 1}
    return single, {character: folded for character, folded in folds.items() if len(folded) > 1}
