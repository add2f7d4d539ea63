"""One async pool over any driver: LIFO, fair, bounded in every wait, and safe to be cancelled in.

A slot is the lease. The cancelled task awaits nothing: it calls ``hand_off`` and a task that the pool owns cleans the connection.
"""

from .connector import Connector as Connector
from .connector import PoolOptions as PoolOptions
from .per_loop import PerLoop as PerLoop
from .pool import Pool as Pool
from .slot import Slot as Slot
from .slot import SlotState as SlotState
from .stats import PoolStats as PoolStats
from .waiting import own_copy as own_copy

__all__ = ("Connector", "PerLoop", "Pool", "PoolOptions", "PoolStats", "Slot", "SlotState", "own_copy")
