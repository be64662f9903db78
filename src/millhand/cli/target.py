"""Finding the `Jobs` that `module:attribute` names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from millhand.jobs import Jobs

DEMO = "millhand.examples.jobs:jobs"


class TargetError(Exception):
    """This says why a target names no `Jobs`."""


def load_target(target: str) -> Jobs:
    """Import the module, from the working directory too, and return its `Jobs`.

    Raises:
        TargetError: when there is none, with what to do.
    """
    module_name, _, attribute = target.partition(":")
    attribute = attribute or "jobs"
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TargetError(f"cannot import {module_name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"{module_name!r} fails on import: {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Jobs):
        raise TargetError(f"{module_name} has no Jobs named {attribute!r}; write millhand serve module:attribute")
    return found
