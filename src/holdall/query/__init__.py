"""Conditions, operations, the planner, the builder and the oracle. No text of any store, no I/O."""

from holdall.query.evaluate import evaluate as evaluate

__all__ = ("evaluate",)
