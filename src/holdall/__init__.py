"""holdall: one set of models, queries, sessions and transactions over very different stores, for asyncio."""

from holdall.active import Model as Model
from holdall.ambient import detach as detach
from holdall.backend import Backend as Backend
from holdall.backend import Engine as Engine
from holdall.capabilities import Capability as Capability
from holdall.capabilities import Limits as Limits
from holdall.errors import BackendError as BackendError
from holdall.errors import CommitUnknownError as CommitUnknownError
from holdall.errors import ConfigurationError as ConfigurationError
from holdall.errors import ConflictError as ConflictError
from holdall.errors import ConnectionLost as ConnectionLost
from holdall.errors import CorruptRecordError as CorruptRecordError
from holdall.errors import DeadlockError as DeadlockError
from holdall.errors import DuplicateKeyError as DuplicateKeyError
from holdall.errors import ForeignKeyError as ForeignKeyError
from holdall.errors import HoldallError as HoldallError
from holdall.errors import LimitExceeded as LimitExceeded
from holdall.errors import LockNotAvailable as LockNotAvailable
from holdall.errors import MissingDriverError as MissingDriverError
from holdall.errors import MultipleResultsError as MultipleResultsError
from holdall.errors import NotFoundError as NotFoundError
from holdall.errors import PoolClosed as PoolClosed
from holdall.errors import PoolTimeout as PoolTimeout
from holdall.errors import QueryError as QueryError
from holdall.errors import SerializationError as SerializationError
from holdall.errors import SessionClosed as SessionClosed
from holdall.errors import SessionConflict as SessionConflict
from holdall.errors import SessionNotFound as SessionNotFound
from holdall.errors import StatementTimeout as StatementTimeout
from holdall.errors import TransactionError as TransactionError
from holdall.errors import UnsupportedOperation as UnsupportedOperation
from holdall.errors import ValidationError as ValidationError
from holdall.errors import is_retryable as is_retryable
from holdall.opening import configure as configure
from holdall.opening import get_backend as get_backend
from holdall.opening import open as open
from holdall.query.builder import Page as Page
from holdall.query.builder import QueryBuilder as QueryBuilder
from holdall.query.expressions import Column as Column
from holdall.query.expressions import Condition as Condition
from holdall.query.expressions import F as F
from holdall.query.expressions import Q as Q
from holdall.query.expressions import col as col
from holdall.query.runner import Explanation as Explanation
from holdall.query.search import Bucket as Bucket
from holdall.query.search import Dates as Dates
from holdall.query.search import Hit as Hit
from holdall.query.search import Ranges as Ranges
from holdall.query.search import SearchBuilder as SearchBuilder
from holdall.query.search import SearchResult as SearchResult
from holdall.query.search import Suggestion as Suggestion
from holdall.query.search import Terms as Terms
from holdall.query.stream import Stream as Stream
from holdall.record.fields import Field as Field
from holdall.record.fields import Index as Index
from holdall.record.generators import utc_now as utc_now
from holdall.record.generators import uuid7 as uuid7
from holdall.record.state import changes as changes
from holdall.record.state import is_stored as is_stored
from holdall.session import Session as Session
from holdall.store import Difference as Difference
from holdall.store import Store as Store
from holdall.write_batch import WriteBatch as WriteBatch

__all__ = (
    "Backend",
    "BackendError",
    "Bucket",
    "Capability",
    "Column",
    "CommitUnknownError",
    "Condition",
    "ConfigurationError",
    "ConflictError",
    "ConnectionLost",
    "CorruptRecordError",
    "Dates",
    "DeadlockError",
    "Difference",
    "DuplicateKeyError",
    "Engine",
    "Explanation",
    "F",
    "Field",
    "ForeignKeyError",
    "Hit",
    "HoldallError",
    "Index",
    "LimitExceeded",
    "Limits",
    "LockNotAvailable",
    "MissingDriverError",
    "Model",
    "MultipleResultsError",
    "NotFoundError",
    "Page",
    "PoolClosed",
    "PoolTimeout",
    "Q",
    "QueryBuilder",
    "QueryError",
    "Ranges",
    "SearchBuilder",
    "SearchResult",
    "SerializationError",
    "Session",
    "SessionClosed",
    "SessionConflict",
    "SessionNotFound",
    "StatementTimeout",
    "Store",
    "Stream",
    "Suggestion",
    "Terms",
    "TransactionError",
    "UnsupportedOperation",
    "ValidationError",
    "WriteBatch",
    "changes",
    "col",
    "configure",
    "detach",
    "get_backend",
    "is_retryable",
    "is_stored",
    "open",
    "utc_now",
    "uuid7",
)
