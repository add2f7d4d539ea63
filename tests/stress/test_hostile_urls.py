"""URLs of any shape: a backend or an error of ours, without I/O, and the password nowhere."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import holdall
from holdall import ConfigurationError
from tests.stress.engines import ENGINES
from tests.stress.hostile import fuzzed, texts

SECRET = "s3cr3t-Pa55"
SCHEMES = ("memory", "postgres", "postgresql", "sqlite", *ENGINES, "", "http", "sqlite+x")
HOSTS = (
    "localhost",
    "[::1]",
    "[::1",
    "::1",
    "a b",
    "h\u2100st",
    "xn--",
    "%00",
    "127.0.0.1:1",
    "127.0.0.1:99999",
    "127.0.0.1:x",
    "h,i",
    "",
    "..",
)
PARAMETERS = ("pool_max_size", "acquire_timeout", "coalesce", "cursor_key", "sslmode", "application_name", "pooler", "password", "host", "")
VALUES = ("1", "-1", "0", "nan", "inf", "1e999", "yes", "maybe", SECRET, "%", "%ff", "%00", "9" * 5000, "")

urls = st.builds(
    "{}://{}@{}/{}?{}={}&{}={}".format,
    st.sampled_from(SCHEMES),
    st.sampled_from(("user", f"user:{SECRET}", f"us%20er:{SECRET}%ff", f":{SECRET}", f"a:b:{SECRET}", "")),
    st.sampled_from(HOSTS) | texts,
    texts | st.sampled_from(("db", "", "/dir/x.db", "?", "#fragment")),
    st.sampled_from(PARAMETERS) | texts,
    st.sampled_from(VALUES) | texts,
    st.sampled_from(PARAMETERS),
    st.sampled_from(VALUES),
)


def opened(url: str, **options: Any) -> str:
    """Return all that is shown of the backend, or of the error."""
    try:
        return repr(holdall.open(url, **options))
    except ConfigurationError as error:
        return "".join(traceback.format_exception(error))


@fuzzed
@given(url=urls)
def test_a_url_of_any_shape_is_a_backend_or_refused_and_its_password_is_not_shown(url: str) -> None:
    shown = opened(url)

    query = url.partition("?")[2]
    if SECRET not in query:  # beside the password it is a value like others, which an error may show
        assert SECRET not in shown
    assert "cursor_key='" not in shown


@fuzzed
@given(
    url=texts | st.builds("{}:{}".format, st.sampled_from(SCHEMES), texts) | st.builds("{}://{}".format, st.sampled_from(SCHEMES), texts)
)
def test_a_text_of_any_shape_is_a_backend_or_refused(url: str) -> None:
    assert opened(url)


@fuzzed
@given(
    options=st.dictionaries(
        st.sampled_from(PARAMETERS) | texts,
        texts | st.none() | st.integers() | st.floats() | st.booleans() | st.binary(max_size=4) | st.lists(st.none(), max_size=1),
        max_size=3,
    )
)
def test_options_of_any_kind_are_taken_or_refused(options: Mapping[str, Any]) -> None:
    options = {name: value for name, value in options.items() if name not in ("url", "first")}
    for url in ("memory://", "sqlite:///x.db", "postgresql://localhost/db", "mysql://localhost/db"):
        assert opened(url, **options)
