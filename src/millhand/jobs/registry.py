"""Which function runs which type of job."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from millhand.codec import FunctionSignature, is_pattern
from millhand.core.clock import Seconds
from millhand.core.errors import UnknownJobType
from millhand.core.job import DEFAULT_MAX_ATTEMPTS
from millhand.policy.retry import Retry


@dataclass(frozen=True, slots=True)
class JobType:
    """A registered function, its checked signature, and what its jobs get unless a submit says otherwise."""

    name: str
    function: Callable[..., Any]
    signature: FunctionSignature
    timeout: Seconds | None
    max_attempts: int
    retry: Retry


class Registry:
    """The job types of one program: exact names first, then globs in the order of their registration."""

    def __init__(self) -> None:
        self._by_name: dict[str, JobType] = {}
        self._patterns: list[JobType] = []
        self._by_function: dict[Callable[..., Any], str] = {}

    @property
    def names(self) -> list[str]:
        """The names and globs registered, sorted."""
        return sorted([*self._by_name, *(pattern.name for pattern in self._patterns)])

    def add(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        *,
        timeout: Seconds | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        retry: Retry | None = None,
    ) -> JobType:
        """Register a function under a name (its own `__name__`) or a glob.

        Raises:
            ValueError: when the name is taken, or an option makes no sense.
            TypeError: when the arguments cannot be kept (see `FunctionSignature`).
        """
        name = name if name is not None else getattr(function, "__name__", "")
        if not name or name == "<lambda>":
            raise ValueError(f"{function!r} has no name to register it by; give one: @jobs.register('name')")
        if name in self.names:
            raise ValueError(f"job type {name!r} is registered already; pass another name")
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {max_attempts}")
        if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
            raise ValueError(f"timeout must be more than 0 seconds, got {timeout}")
        signature = FunctionSignature(function, name)
        added = JobType(name, function, signature, timeout, max_attempts, retry or Retry())
        if is_pattern(name):
            self._patterns.append(added)
        else:
            self._by_name[name] = added
        if is_pattern(self._by_function.get(function, "*")):  # a plain name says which type is meant, a glob does not
            self._by_function[function] = name
        return added

    def find(self, name: str) -> JobType | None:
        """Return the type that runs jobs of this name, or None."""
        if exact := self._by_name.get(name):
            return exact
        return next((pattern for pattern in self._patterns if fnmatch.fnmatchcase(name, pattern.name)), None)

    def get(self, name: str) -> JobType:
        """Return the type that runs jobs of this name. Raises UnknownJobType."""
        found = self.find(name)
        if found is None:
            raise UnknownJobType(name, tuple(self.names))
        return found

    @staticmethod
    def matches(name: str, types: Iterable[str]) -> bool:
        """Tell whether a name is one of these types, or fits one of their globs."""
        return any(fnmatch.fnmatchcase(name, type) if is_pattern(type) else name == type for type in types)

    def name_of(self, function: Callable[..., Any]) -> str:
        """Return the name under which a function is registered.

        Raises:
            UnknownJobType: when it is not, or only under a glob, which does not say which name is meant.
        """
        name = self._by_function.get(function)
        if name is None or is_pattern(name):
            raise UnknownJobType(getattr(function, "__name__", repr(function)), tuple(self.names))
        return name
