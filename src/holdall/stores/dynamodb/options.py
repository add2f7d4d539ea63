"""What a model says to DynamoDB alone, in ``Meta.store_options``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdall.record.fields import StoreOption


@dataclass(frozen=True, slots=True)
class SingleTable(StoreOption):
    """Keep the records in a table that several models share.

    The keys are templates: segments joined by ``#``, each a literal or one field in braces, such as ``"CUSTOMER#{id}"``. The fields of the
    two keys together are those of the model's key. Values are escaped so that none can be taken for another, and keep their order.

    Attributes:
        table: the table's name, in place of the model's.
        partition_key, sort_key: the templates. Models that share a table all have a sort key, or none has.
        partition_attribute, sort_attribute: what the key's attributes are called.
        indexes: per secondary index its two templates, of fields that cannot be None. Its attributes are its name and ``_PK``, ``_SK``.
    """

    table: str
    partition_key: str
    sort_key: str | None = None
    partition_attribute: str = "PK"
    sort_attribute: str = "SK"
    indexes: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
