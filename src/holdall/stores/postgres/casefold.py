"""``str.casefold`` in SQL: the text of an immutable function that folds every code point as this Python does.

ICU's ``lower`` differs on hundreds of code points, so the tables are Python's own. The digest of its text is in the function's name:
processes with other Unicode tables use a function, and expression indexes, of their own.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import unicodedata

_PIECE = 128  # characters; the server caches 32 compiled patterns, of which these take a dozen


@functools.cache
def function_name() -> str:
    """Name the function; equal in every process whose Python folds alike."""
    digest = hashlib.blake2s(_body().encode(), digest_size=4)
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
    # PL/pgSQL, because a function in SQL that cannot be inlined costs 15 microseconds a call.
    create = f"""do $holdall$ begin
if to_regprocedure('{name}(text)') is null then
create function {name}(given text) returns text language plpgsql immutable strict parallel safe as $fold${_body()}$fold$;
comment on function {name}(text) is 'case folding of Unicode {unicodedata.unidata_version}, made by holdall';
end if;
exception when duplicate_function or unique_violation then null;
end $holdall$"""
    return (create,)


def _body() -> str:
    # ASCII alone (one byte a character) is nearly all there is. For the rest, translate() compares every character with its whole
    # table, so the table is cut in pieces, and a piece is used only where the text has something to fold by it. No fold yields
    # anything that folds again, so that the order of the pieces does not matter.
    folds = sorted(_folds().items())
    pieces = "".join(_piece(dict(folds[start : start + _PIECE])) for start in range(0, len(folds), _PIECE))
    return f"""
declare x text collate "C" := lower(given collate "C");
begin
if octet_length(x) = length(x) or x !~ '[{"".join(_folds())}]' then return x; end if;
{pieces}return x;
end
"""


def _piece(folds: dict[str, str]) -> str:
    single = {source: folded for source, folded in folds.items() if len(folded) == 1}
    translated = f"translate(x, '{''.join(single)}', '{''.join(single.values())}')" if single else "x"
    several = ((source, folded) for source, folded in folds.items() if len(folded) > 1)
    replaced = functools.reduce(lambda inner, fold: f"replace({inner}, '{fold[0]}', '{fold[1]}')", several, translated)
    return f"if x ~ '[{''.join(folds)}]' then x := {replaced}; end if;\n"


@functools.cache
def _folds() -> dict[str, str]:
    """Map each character outside ASCII that folds to what it folds to, one character or several."""
    return {character: folded for character in map(chr, range(0x80, sys.maxunicode + 1)) if (folded := character.casefold()) != character}
