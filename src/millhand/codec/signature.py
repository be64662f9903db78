"""A function's arguments as one JSON object: bound to names, checked by annotation, decoded for the call."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import msgspec.inspect

from millhand.codec.values import encode_value, from_plain, refuse_unknown
from millhand.core.errors import BadArguments

_Kind = inspect.Parameter
_NAMED = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)
_POSITIONAL = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)


def is_pattern(name: str) -> bool:
    """Tell whether a type's name is a glob such as `job-*` rather than a plain name."""
    return any(character in name for character in "*?[")


class FunctionSignature:
    """This knows which arguments a function takes, and carries them to JSON and back.

    A payload that is an object means keyword arguments, an array positional ones, absent or null none.
    What is stored is always an object: the names are what a later version of the function is checked against.

    Args:
        function: any callable whose signature can be read; `*args` is refused, since it has no names.
        name: what errors call it.

    Raises:
        TypeError: when the signature has `*args`, or an annotation that JSON cannot carry.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.name = name
        try:
            self._signature = inspect.signature(function, eval_str=True)
        except (NameError, ValueError) as error:
            raise TypeError(f"the signature of {name} cannot be read: {error}") from error
        parameters = self._signature.parameters.values()
        if any(p.kind is _Kind.VAR_POSITIONAL for p in parameters):
            raise TypeError(f"{name} takes *args, but a kept job's arguments are stored by name; take a list instead")
        self._positional = [p.name for p in parameters if p.kind in _POSITIONAL]
        self._positional_only = [p.name for p in parameters if p.kind is _Kind.POSITIONAL_ONLY]
        self._names = tuple(p.name for p in parameters if p.kind in _NAMED)
        self._takes_more = any(p.kind is _Kind.VAR_KEYWORD for p in parameters)
        self._decoder = self._build_decoder()

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the payload for a call with these Python arguments.

        Raises:
            BadArguments: when the signature does not take them, or JSON cannot carry them.
        """
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise BadArguments(self.name, str(error)) from None
        by_name: dict[str, Any] = {name: bound[name] for name in self._names if name in bound}
        if self._takes_more:
            extra = self._extra_of(bound)
            if twice := by_name.keys() & extra.keys():
                raise BadArguments(
                    self.name, f"{sorted(twice)[0]!r} names two arguments; stored by name, one would be lost"
                )
            by_name.update(extra)
        try:
            payload = encode_value(by_name)
        except TypeError as error:
            raise BadArguments(self.name, str(error)) from None
        self._decode(payload)
        return payload

    def check(self, payload: bytes | str | None) -> str:
        """Return the payload as it is to be stored, after checking it against the annotations.

        Raises:
            BadArguments: with the path to the first fault.
        """
        try:
            text = (payload.encode() if isinstance(payload, str) else bytes(payload or b"")).strip()
            text.decode()
        except UnicodeError as error:
            raise BadArguments(self.name, f"the payload is not UTF-8: {error}") from None
        if text in {b"", b"null"}:
            text = b"{}"
        if text.startswith(b"["):
            text = self._name_positional(text)
        elif not text.startswith(b"{"):
            raise BadArguments(self.name, "the payload must be an object (keyword arguments), an array or null")
        self._decode(text)
        return text.decode()

    def decode(self, payload: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments to call the function with.

        Raises:
            BadArguments: when the payload no longer fits (the function has changed since it was stored).
        """
        decoded = self._decode(payload)
        kwargs = {name: value for name in self._names if (value := getattr(decoded, name)) is not msgspec.UNSET}
        if self._takes_more:
            everything = msgspec.json.decode(payload)
            kwargs.update((key, everything[key]) for key in everything.keys() - set(self._names))
        args = [kwargs.pop(name, self._signature.parameters[name].default) for name in self._positional_only]
        return args, kwargs

    def _build_decoder(self) -> msgspec.json.Decoder[Any]:
        fields: list[Any] = []
        for name in self._names:
            wanted = self._signature.parameters[name].annotation
            wanted = Any if wanted is _Kind.empty else wanted
            if self._signature.parameters[name].default is _Kind.empty:
                fields.append((name, wanted))
            else:  # UNSET, so that the function's own default applies at the time of the call
                fields.append((name, wanted | msgspec.UnsetType if wanted is not Any else Any, msgspec.UNSET))
        arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=not self._takes_more)
        try:
            decoder = msgspec.json.Decoder(arguments, dec_hook=from_plain)
            refuse_unknown(msgspec.inspect.type_info(arguments))
        except (TypeError, RecursionError) as error:
            raise TypeError(f"{self.name} has an argument that JSON cannot carry: {error}") from error
        return decoder

    def _extra_of(self, bound: Mapping[str, Any]) -> Mapping[str, Any]:
        [extra] = [p.name for p in self._signature.parameters.values() if p.kind is _Kind.VAR_KEYWORD]
        return typing.cast("Mapping[str, Any]", bound.get(extra, {}))

    def _name_positional(self, text: bytes) -> bytes:
        try:
            values = msgspec.json.decode(text, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadArguments(self.name, str(error)) from None
        if len(values) > len(self._positional):
            raise BadArguments(self.name, f"takes {len(self._positional)} positional arguments, got {len(values)}")
        return msgspec.json.encode(dict(zip(self._positional, values, strict=False)))

    def _decode(self, payload: str | bytes) -> Any:
        try:
            return self._decoder.decode(payload)
        except Exception as error:  # noqa: BLE001 - the edge: an argument's own class may refuse it in any way
            reason, path = split_path(str(error))
            known = isinstance(error, msgspec.MsgspecError | NotImplementedError)
            raise BadArguments(self.name, reason if known else f"{type(error).__name__}: {reason}", path) from None


def split_path(text: str) -> tuple[str, str]:
    """Split msgspec's "Expected `int`, got `str` - at `$.size`" into what is wrong and where."""
    if found := re.fullmatch(r"(.*) - at `(.*)`", text, re.DOTALL):
        return found[1], found[2]
    return text, "$"
