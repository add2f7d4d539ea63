"""Texts that break what is glued together: quotes, comments, placeholders, escapes, odd Unicode, and what no store may keep."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

_THOROUGH = os.environ.get("HOLDALL_PROPERTIES") == "thorough"
_HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
# The same examples in every run, unless it is a thorough one, which looks for new ones and makes them small.
fuzzed = settings(
    max_examples=1000 if _THOROUGH else 40,
    derandomize=not _THOROUGH,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if _THOROUGH else [])],
    suppress_health_check=_HEALTH,
    print_blob=True,
)

REFUSED = "\0\ud800\udfff"  # characters that no store may keep
_SIGNS = "'\"`;-/*\\%_:$?@#{}()[]<>|&=,.+~^! \n\t\r\x08\x1a\x01"
_LETTERS = "aAbBxX019éÉßſİıKσς\u0301\u202e\u2028\ufeff\uff07\u02bc😀\U0010ffff"
PAYLOADS = (
    "'; drop table canary; --",
    '"; drop table canary; --',
    "`; drop table canary; -- ",
    "\\'; delete from canary; -- ",
    "x') or 1=1 -- ",
    "' or '1'='1",
    "%' or '%'='",
    "*/; delete from canary; /*",
    "$$; delete from canary; $$",
    "'||(select text from canary limit 1)||'",
    "$1", "$.a", "$[*]", ":name", "::int", "%s", "%(name)s", "?", "{0}", "{text}", "{{", "a.b", 'a"."b', "[0]", "null", "true", "1", "",
    "\\", "\\\\", "\\'", '\\"', "''", '""', "``", "--", "/*", "*/", "#", " ", "a ", " a", "\u00c5", "A\u030a", "x" * 70, "é" * 40,
)  # fmt: skip

kept = st.sampled_from(PAYLOADS) | st.text(alphabet=st.sampled_from(_SIGNS + _LETTERS), max_size=12)
texts = kept | st.text(alphabet=st.sampled_from(_SIGNS + _LETTERS + REFUSED), min_size=1, max_size=6)


def may_be_kept(text: str) -> bool:
    """Tell whether a store may be asked to keep the text."""
    return not set(text) & set(REFUSED)
