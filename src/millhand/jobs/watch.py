"""Waiting for jobs to end: one thread looks for everybody who waits.

A commit of this process is told by its writer, one of another process is seen by the store's change number,
looked at every few milliseconds while somebody waits; with nobody waiting the thread sleeps.

Guarantees:
    A callback is called exactly once, unless it was taken back; by the watching thread, so it must be quick.
    It is called with the job as it stood after it ended.

Locks:
    `_changing` protects the table of wishes; never held while a callback or the store is called.

Shutdown:
    `close` wakes the thread, which ends; whoever still waits is told nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection

from millhand.core.clock import Seconds
from millhand.core.errors import StoreError
from millhand.core.job import Job
from millhand.jobs.store import Store

log = logging.getLogger("millhand")

LOOK_EVERY: Seconds = 0.002
"""How soon an end in another process is noticed; a look costs about 4 microseconds."""

Callback = Callable[[Job], None]


class Watch:
    """This tells when jobs end. Its thread starts with the first wish."""

    def __init__(self, store: Store, look_every: Seconds = LOOK_EVERY) -> None:
        self._store = store
        self._look_every = look_every
        self._changing = threading.Lock()
        self._wishes: dict[str, list[Callback]] = defaultdict(list)
        self._stirred = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._forget_commits: Callable[[], None] = lambda: None

    def when_ended(self, id: str, callback: Callback) -> Callable[[], None]:
        """Call back once the job is in an end state (at once if it is); return how to take the wish back.

        Raises:
            JobNotFound: when there is no such job.
        """
        with self._changing:
            self._wishes[id].append(callback)
            self._start()
        # After the wish is in the table: an end between the two is then seen by the thread, or here.
        try:
            job = self._store.reading.get(id)
        except BaseException:
            self._take_back(id, callback)
            raise
        if job.state.is_end and self._take_back(id, callback):
            callback(job)
        self._stirred.set()

        def take_back() -> None:
            self._take_back(id, callback)

        return take_back

    def wait(self, id: str, timeout: Seconds | None) -> Job:
        """Block until the job has ended or the time is up; return it as it stands then.

        Raises:
            JobNotFound: when there is no such job.
        """
        ended = threading.Event()
        found: list[Job] = []

        def keep(job: Job) -> None:
            found.append(job)
            ended.set()

        take_back = self.when_ended(id, keep)
        ended.wait(timeout)
        take_back()
        return found[0] if found else self._store.reading.get(id)

    def look_soon(self) -> None:
        """Look now rather than at the next tick; for whoever knows that something has ended elsewhere."""
        if self._wishes:
            self._stirred.set()

    def close(self) -> None:
        """Stop looking. Idempotent."""
        self._closed = True
        self._stirred.set()
        self._forget_commits()
        self._forget_commits = lambda: None
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._forget_commits = self._store.housekeeping.on_commit(self._note_commit)
            thread = threading.Thread(target=self._look, name="millhand-watch", daemon=True)
            thread.start()
            self._thread = thread  # only now: `close` may join it at any time

    def _note_commit(self, arrived: bool, ended: Collection[str]) -> None:  # noqa: FBT001 - a listener's shape
        if ended:
            self.look_soon()

    def _take_back(self, id: str, callback: Callback) -> bool:
        with self._changing:
            callbacks = self._wishes.get(id, [])
            if callback not in callbacks:
                return False
            callbacks.remove(callback)
            if not callbacks:
                del self._wishes[id]
            return True

    def _look(self) -> None:
        seen = -1
        while not self._closed:
            self._stirred.wait(self._look_every if self._wishes else None)
            self._stirred.clear()
            try:
                changed = self._store.reading.changed()
                if changed != seen and self._wishes and not self._closed:
                    self._tell_ended()
                    seen = changed
            except StoreError as error:  # nobody may wait for ever because one look failed
                log.warning("jobs that are waited for could not be read: %s", error)

    def _tell_ended(self) -> None:
        with self._changing:
            ids = list(self._wishes)
        for job in self._store.reading.get_many(ids):
            if not job.state.is_end:
                continue
            with self._changing:
                callbacks = self._wishes.pop(job.id, [])
            for callback in callbacks:
                try:
                    callback(job)
                except Exception:  # the edge: one waiter's fault is nobody else's
                    log.exception("a callback for job %s failed", job.id)
