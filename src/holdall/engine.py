"""``Engine``: the pool of connections under an SQL backend; it gives out sessions and runs raw statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdall.query.operations import Operation
from holdall.raw_access import RawAccess
from holdall.record.metadata import ModelInfo
from holdall.session import Session, SessionBlock
from holdall.store import Isolation

if TYPE_CHECKING:
    from holdall.backend import Backend


class Engine(RawAccess):
    """The engine of a backend: ``backend.engine``. Raw statements join the ambient session, else run on their own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def session(
        self,
        session: Session | None = None,
        /,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  - per statement
    ) -> SessionBlock:
        """Return the same as ``backend.session``."""
        return self._backend.session(session, isolation=isolation, read_only=read_only, timeout=timeout)

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the pool of the running event loop, such as ``size``, ``idle``, ``in_use`` and ``waiting``."""
        return self._backend.store.stats()

    async def run_operation(self, operation: Operation) -> Any:
        """Check that the store keeps the promise, then carry out the operation."""
        return await self._backend.run_operation(operation)

    def decoder(self, info: ModelInfo, names: tuple[str, ...] | None = None, shape: Any = None) -> Any:
        """Return what turns rows into objects."""
        return self._backend.decoder(info, names, shape)
