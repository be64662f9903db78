"""What both children of a service begin with: a log, the line to the supervisor, the user's program.

A child is started as `python -m millhand.cli.http_child TARGET URL LINE WAKE` (or `runner_child`): the two
numbers are inherited files. It loads the program, tells the supervisor which database that uses, and gets
its orders; whatever goes wrong on the way is told as one line.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from millhand.cli.settings import Settings
from millhand.cli.target import TargetError, load_target
from millhand.core.clock import Seconds
from millhand.core.errors import StoreError
from millhand.jobs import Jobs
from millhand.supervisor import Lifeline, Wake


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a child has to work with.

    Args:
        jobs: the user's.
        settings: what the service was told.
        lifeline: the line to the supervisor.
        wake: the other child's bell.
        runner: the id it was announced under, if it is to run jobs.
        before: what it said when it was ready, if this is a restart.
    """

    jobs: Jobs
    settings: Settings
    lifeline: Lifeline
    wake: Wake
    runner: str | None
    before: dict[str, Any] | None


def be_child(role: str, arguments: Sequence[str], work: Callable[[Assignment], None]) -> None:
    """Load what the supervisor named, then do the work until it returns."""
    target, url, line, wake = arguments
    # The supervisor decides when we stop; a signal sent to everybody must not cut jobs short. Handlers, not
    # SIG_IGN: that would be inherited by whatever programs the jobs start.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    start_log(role)
    lifeline = Lifeline(int(line))
    try:
        jobs = load_target(target)
        if url:
            jobs.move_to(url)
        lifeline.send("loaded", url=jobs.url)
        begin = lifeline.receive()
        if begin.kind == "stop":  # told to stop before it began
            return
        orders = begin.data
        settings = Settings(**orders["settings"])
        work(Assignment(jobs, settings, lifeline, Wake(int(wake)), orders.get("runner"), orders.get("before")))
    except (TargetError, ValueError) as error:
        lifeline.send("failed", reason=str(error), code=2)
    except (StoreError, OSError) as error:
        lifeline.send("failed", reason=getattr(error, "strerror", None) or str(error))
    except Exception:  # noqa: BLE001 - the edge of the process: the supervisor is to say what happened
        lifeline.send("failed", reason=f"the {role} process failed:\n{traceback.format_exc()}")


def wait_for_stop(lifeline: Lifeline) -> Seconds:
    """Block until the supervisor says stop; return the grace."""
    while True:
        message = lifeline.receive()
        if message.kind == "stop":
            return float(message.data["grace"])


def start_log(role: str) -> None:
    """Log to standard error, a line each, with the process's part in the service."""
    form = f"%(asctime)s %(levelname)s [{role}] %(message)s"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=form)
