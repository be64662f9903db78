"""The parent of a service: it starts the HTTP process and the runner, beats for the runner, and stops them in order.

Guarantees:
    It runs no jobs and serves no requests, so nothing that they do can keep it from beating.
    A runner's death is seen at once; its jobs wait again before the next runner starts.
    A runner that sends no pulse for `stall_limit` is killed.

Shutdown (SIGTERM or SIGINT):
    1. The HTTP process stops: readyz red, no new connections, requests under way finish. 2. The runner
    stops: no more claims, running jobs finish up to the grace, the rest go back uncounted. 3. The runner
    retires. 4. The database is closed. A second signal kills what is left; its jobs wait again.

One thread, one loop: signals, lines and timers all end in `_turn`.
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from millhand.core.clock import Instant, Seconds
from millhand.core.errors import StoreError
from millhand.core.job import JobState
from millhand.jobs.ids import new_id
from millhand.jobs.presence import Presence
from millhand.jobs.store import Store
from millhand.supervisor.child import Child, ChildSpec
from millhand.supervisor.lifeline import Message

KILL_AFTER: Seconds = 5.0
"""How much longer than it was given a child may take to stop."""

log = logging.getLogger("millhand")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """What a supervisor needs to know.

    Args:
        grace: how long running jobs may go on after a signal.
        http_grace: how long requests under way may go on after a signal.
        stall_limit: how long a runner may be silent before it is killed.
        report_every: seconds between two summary lines in the log; None: none.
    """

    grace: Seconds = 30.0
    http_grace: Seconds = 15.0
    stall_limit: Seconds = 300.0
    report_every: Seconds | None = 10.0


class Supervisor:
    """Runs children until it is told to stop.

    Args:
        specs: the children, in the order in which they are to be stopped.
        open_store: opens the database with the URL that the children found in the user's program.
        on_ready: called once with what each child said of itself when all were ready the first time.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        open_store: Callable[[str], Store],
        on_ready: Callable[[Mapping[str, Any]], None],
        settings: SupervisorSettings,
    ) -> None:
        self._children = [Child(spec) for spec in specs]
        self._open_store, self._on_ready, self._settings = open_store, on_ready, settings
        self._store: Store | None = None
        self._presences: dict[str, Presence] = {}
        self._said: dict[str, Any] = {}
        self._told_ready = False
        self._stopping = False
        self._exit_code = 0
        self._report = _Report(settings.report_every)
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Run until told to stop, and return the exit code: 0, or what a child that could not start said."""
        wakeup, signalled = socket.socketpair()
        wakeup.setblocking(False)
        signalled.setblocking(False)
        self._selector.register(wakeup, selectors.EVENT_READ)
        before = {number: signal.signal(number, self._note_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        before_wakeup = signal.set_wakeup_fd(signalled.fileno())
        try:
            while (due := self._turn(time.monotonic())) is not None:
                self._selector.select(max(0.0, due - time.monotonic()))
                _drain(wakeup)
        finally:
            signal.set_wakeup_fd(before_wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._end()
            wakeup.close()
            signalled.close()
        return self._exit_code

    def _turn(self, now: Instant) -> Instant | None:
        """Do all that is to be done now; return when the next thing is due, None when all is over."""
        due = now + 1.0
        for child in list(self._children):
            # In this order: whoever has ended has said all that it had to say before.
            has_ended = child.process is not None and not child.is_alive
            for message in child.receive():
                self._hear(child, message, now)
            if has_ended:
                self._bury(child, now)
            due = min(due, self._care_for(child, now))
        if self._stopping:
            self._stop_next(now)
        if not self._children:
            return None
        for presence in self._presences.values():
            due = min(due, presence.step(now))
        if self._store is not None:
            due = min(due, self._report.step(self._store, now))
        return due

    def _care_for(self, child: Child, now: Instant) -> Instant:
        if child.process is None:
            if self._stopping:
                return now + 1.0
            if now < child.start_at:
                return child.start_at
            child.start(now)
            self._selector.register(child.line, selectors.EVENT_READ)  # type: ignore[arg-type] # start made it
        if child.kill_at is not None and now >= child.kill_at:
            log.warning("%s did not stop in time and is killed", child.spec.name)
            child.kill()
        elif child.spec.runs_jobs and child.ready and now - child.last_pulse > self._settings.stall_limit:
            log.error("%s was silent for %g s and is killed", child.spec.name, self._settings.stall_limit)
            child.kill()
        return child.kill_at or now + 1.0

    def _hear(self, child: Child, message: Message, now: Instant) -> None:
        child.last_pulse = now
        match message.kind:
            case "loaded":
                self._begin(child, message.data["url"])
            case "ready":
                child.ready = child.was_ready = True
                self._said[child.spec.name] = message.data
                if not (self._told_ready or self._exit_code) and all(child.ready for child in self._children):
                    self._told_ready = True
                    self._on_ready(self._said)
            case "failed":
                self._fail(message.data["reason"], message.data.get("code", 1))

    def _fail(self, reason: str, code: int = 1) -> None:
        """Say why the service cannot go on, once, and stop it; children often fail for the same reason."""
        if not self._exit_code:
            log.error("%s", reason)
            self._exit_code = code
        self._stopping = True

    def _begin(self, child: Child, url: str) -> None:
        # What it said of itself before it was restarted, so that a port which was chosen freely stays.
        orders = {**child.spec.orders, "before": self._said.get(child.spec.name)}
        try:
            if self._store is None:
                self._store = self._open_store(url)
            if child.spec.runs_jobs:
                presence = Presence(self._store, f"r-{new_id()}")
                presence.announce()
                self._presences[child.spec.name] = presence
                orders["runner"] = presence.runner
        except StoreError as error:
            self._fail(str(error))
            return
        child.send("begin", **orders)

    def _bury(self, child: Child, now: Instant) -> None:
        if child.line is not None:
            self._selector.unregister(child.line)
        code = child.bury(now)
        presence = self._presences.pop(child.spec.name, None)
        if presence is not None:
            self._settle_affairs(presence)
        how = f"{child.spec.name} ended with {_describe_exit(code)}"
        if self._stopping:
            self._children.remove(child)
        elif child.was_ready:
            log.error("%s; it is started again", how)
        else:
            self._fail(f"{how} before it was ready")
            self._children.remove(child)

    def _settle_affairs(self, presence: Presence) -> None:
        """Free what a runner left behind, then forget it; one that we told to stop casts no suspicion on its jobs."""
        try:
            if not self._stopping:
                presence.rescue(presence.runner)
            presence.retire()
        except StoreError as error:
            log.error("the jobs of %s wait for its lease to end: %s", presence.runner, error)

    def _stop_next(self, now: Instant) -> None:
        """Ask the first child that is left to stop; the next is asked when it has gone."""
        for child in list(self._children):
            if child.process is None:
                self._children.remove(child)
        if self._children and not self._children[0].told_to_stop:
            child = self._children[0]
            child.told_to_stop = True
            grace = self._settings.grace if child.spec.runs_jobs else self._settings.http_grace
            child.send("stop", grace=grace)
            child.kill_at = now + grace + KILL_AFTER

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            for child in self._children:
                child.kill()
        self._stopping = True

    def _end(self) -> None:
        for child in self._children:
            child.kill()
        self._selector.close()
        if self._store is not None:
            self._store.housekeeping.close()


class _Report:
    """A summary line in the log now and then, when something has changed since the last."""

    def __init__(self, every: Seconds | None) -> None:
        self._every = every
        self._due: Instant = 0.0
        self._last: tuple[Instant, Mapping[JobState, int]] | None = None

    def step(self, store: Store, now: Instant) -> Instant:
        if self._every is None:
            return now + 3600.0
        if now >= self._due:
            self._due = now + self._every
            try:
                counts = store.reading.counts()
            except StoreError as error:
                log.warning("there is no summary: %s", error)
                return self._due
            if self._last is not None and counts != self._last[1]:
                since, before = self._last
                rate = (counts[JobState.COMPLETED] - before[JobState.COMPLETED]) / (now - since)
                numbers = ", ".join(f"{n} {state}" for state, n in counts.items())
                log.info("%s; %.1f completed a second", numbers, rate)
            self._last = now, counts
        return self._due


def _drain(pipe: socket.socket) -> None:
    with suppress(BlockingIOError):
        pipe.recv(4096)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
