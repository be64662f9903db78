"""Single values to JSON and back; paths travel as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


def to_plain(value: Any) -> Any:
    """Turn a value that JSON has no word for into one that it has; msgspec calls this hook."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be kept as JSON; use plain data, a dataclass or a Path")


def from_plain(wanted: Any, value: Any) -> Any:
    """Turn a JSON value into the annotated type that msgspec does not know itself."""
    if isinstance(wanted, type) and issubclass(wanted, Path):
        return wanted(value)
    raise NotImplementedError(f"an argument cannot be a {getattr(wanted, '__name__', wanted)}: JSON cannot carry it")


_encoder = msgspec.json.Encoder(enc_hook=to_plain)


def encode_value(value: Any) -> str:
    """Write a value as JSON.

    Raises:
        TypeError: when it holds something that JSON cannot carry; the text names its type.
    """
    try:
        return _encoder.encode(value).decode()
    except (NotImplementedError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise TypeError(str(error)) from error


def decode_value(text: str | bytes) -> Any:
    """Read a value from JSON."""
    return msgspec.json.decode(text)
