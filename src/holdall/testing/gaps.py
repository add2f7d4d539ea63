"""Known gaps: what a store declares and does not keep, stated beside it with a reason. The suite makes strict expected failures of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class KnownGap:
    """Why a test of the suite fails on a store; use one of the subclasses, which say what will become of it.

    Attributes:
        reason: what is wrong, in words for the users of the store.
        raises: the class of what the test raises, or several; anything else is a failure, and so is passing.
    """

    reason: str
    raises: type[BaseException] | tuple[type[BaseException], ...]
    outlook: ClassVar[str] = ""

    def __init__(self, reason: str, *, raises: type[BaseException] | tuple[type[BaseException], ...]) -> None:
        object.__setattr__(self, "reason", reason)
        object.__setattr__(self, "raises", raises)


class NotImpl(KnownGap):
    """The database can do it, the store does not use it."""

    outlook = "not implemented"


class NotYet(KnownGap):
    """The database cannot do it now, and may later."""

    outlook = "not yet"


class Never(KnownGap):
    """The database is made in such a way that it will not do it."""

    outlook = "never"
