"""The one database of the service. ``DATABASE_URL`` is the only switch; no line of the rest depends on which one it is."""

import os
from typing import Annotated

import holdall
from holdall import Capability, Session
from holdall.integrations.fastapi import SessionDependency

DEFAULT_URL = "sqlite:///atlas.db"

backend = holdall.open(os.environ.get("DATABASE_URL") or DEFAULT_URL)

# Where the database cannot enforce references, they are declared all the same, and dangling ones go unnoticed.
ENFORCED = Capability.FOREIGN_KEYS in backend.capabilities

InSession = Annotated[Session, SessionDependency(backend)]
