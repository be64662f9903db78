"""Job ids: UUIDv7 text (RFC 9562, section 5.7), so that ids sort by the time of submission."""

from __future__ import annotations

import os
import re
import threading
import time

_drawing = threading.Lock()
_last = 0
_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_id() -> str:
    """Return a new id; ids made by one process are strictly increasing.

    48 bits of milliseconds, then 74 bits that start at random in each millisecond and count on from there
    (RFC 9562, section 6.2, method 2).
    """
    global _last  # noqa: PLW0603 - one sequence per process is the point
    fresh = (time.time_ns() // 1_000_000) << 74 | int.from_bytes(os.urandom(9), "big")
    with _drawing:
        _last = max(fresh, _last + 1)
        value = _last
    high, low = value >> 62, value & ((1 << 62) - 1)
    text = f"{high >> 12:012x}7{high & 0xFFF:03x}{low | 1 << 63:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Tell whether a text is a UUID in its usual, lower-case form."""
    return _FORM.fullmatch(text) is not None
