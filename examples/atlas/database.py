"""The one database of the service. ``DATABASE_URL`` is the only switch; no line of the rest depends on which one it is."""

import os
from typing import Annotated

import holdall
from holdall import Session
from holdall.integrations.fastapi import SessionDependency

DEFAULT_URL = "sqlite:///atlas.db"

backend = holdall.open(os.environ.get("DATABASE_URL") or DEFAULT_URL)

InSession = Annotated[Session, SessionDependency(backend)]
