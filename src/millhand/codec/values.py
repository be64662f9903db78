"""Single values to JSON and back; paths travel as text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect


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


def refuse_unknown(info: Any) -> None:
    """Raise TypeError if a type, as `msgspec.inspect` tells it, holds one that only its own code could carry."""
    waiting, seen = [info], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, msgspec.inspect.CustomType) and not issubclass(_class_of(node.cls), Path):
            raise TypeError(f"{getattr(node.cls, '__name__', node.cls)} is neither plain data nor a Path")
        if isinstance(node, tuple):
            waiting.extend(node)
        elif isinstance(node, msgspec.inspect.Type | msgspec.inspect.Field) and id(node) not in seen:
            seen.add(id(node))
            waiting.extend(getattr(node, name) for name in node.__struct_fields__ if name != "cls")


def _class_of(annotation: Any) -> type:
    return annotation if isinstance(annotation, type) else object


_encoder = msgspec.json.Encoder(enc_hook=to_plain)


def encode_value(value: Any) -> str:
    """Write a value as JSON.

    Raises:
        TypeError: when it holds something that JSON cannot carry; the text names its type.
    """
    try:
        encoded = _encoder.encode(value)
        # NaN and the infinities come out as null: a result that is not what was returned.
        lost = b"null" in encoded and _holds_no_number(msgspec.to_builtins(value, enc_hook=to_plain))
    except (NotImplementedError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise TypeError(str(error)) from error
    if lost:
        raise TypeError("NaN and infinity cannot be kept as JSON; use None or a text")
    return encoded.decode()


def _holds_no_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_holds_no_number, value)) or any(map(_holds_no_number, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(_holds_no_number, value))


def decode_value(text: str | bytes) -> Any:
    """Read a value from JSON."""
    return msgspec.json.decode(text)
