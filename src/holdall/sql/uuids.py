"""UUIDs from their 16 bytes, quickly."""

from __future__ import annotations

from uuid import UUID, SafeUUID

_new_uuid = object.__new__
# UUID's constructor checks what is known here, and takes three times as long; its slots are part of its pickle format.
_set_int = UUID.__dict__["int"].__set__
_set_is_safe = UUID.__dict__["is_safe"].__set__
_from_bytes = int.from_bytes
_UNKNOWN = SafeUUID.unknown


def uuid_from_bytes(value: bytes) -> UUID:
    """Return the UUID of 16 bytes."""
    if len(value) != 16:
        msg = f"{value!r} is not the 16 bytes of a UUID"
        raise ValueError(msg)
    made = _new_uuid(UUID)
    _set_int(made, _from_bytes(value))
    _set_is_safe(made, _UNKNOWN)
    return made
