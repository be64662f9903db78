"""The coroutines of a pool at work on its loop: taking tasks, driving calls, keeping their limits.

Guarantees:
    A call costs no asyncio task: each place is one, and drives one call after the other, step by step, in the
    call's own context. So `asyncio.current_task`, timeouts and task groups work inside of a call.
    Calls that never suspend hold the loop up for about a millisecond, then it gets its turn.
    A call that overstays its timeout fails on time, even if the loop is blocked. It is cancelled; if it is still
    there after GRACE, its place is written off and replaced.

Races:
    Cancel against the end of a call. The cancel is carried out on the loop, and only if that call is still in
    that place. If the call takes no further step to be cancelled in, the place's asyncio task is left with a
    cancellation that was not meant for the next call; so the place leaves, and another one takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from queue import Empty
from typing import Any

from millhand.core.clock import Seconds
from millhand.core.errors import NestedWaitLimit, PoolClosed, TaskCancelled, TaskTimeout
from millhand.core.events import TaskEnded, TaskStarted, WorkerWrittenOff
from millhand.pool.attached import Callback
from millhand.pool.course import outcome_of
from millhand.pool.current import here
from millhand.pool.future import RAISED, RETURNED, End, Future, running_loop
from millhand.pool.listeners import Listener
from millhand.pool.loop_roster import LoopRoster
from millhand.pool.options import Settings
from millhand.pool.overdue import Overdue
from millhand.pool.place import Place, at_place, check_coroutine_function, rest_of, without_our_frames, yield_to_loop
from millhand.pool.stats import QUICK
from millhand.pool.task import Task, call_back, monotonic
from millhand.pool.terms import Terms
from millhand.pool.worker import Worker

TURN: Seconds = 0.001
"""How long calls that never suspend run before the loop gets its turn."""

GRACE: Seconds = 0.1
"""How long a call that timed out may clean up before another one gets its place."""

CANNOT_WAIT = "this would block the loop that the call runs on: await the future instead"


class LoopCrew(LoopRoster):
    """This runs the tasks of one pool of coroutines. Its arguments are those of LoopRoster."""

    def __init__(self, pool: object, size: int, name: str, settings: Settings) -> None:
        super().__init__(pool, size, name, settings)
        self._overdue = Overdue(self.timers, self._strike)
        self._turn_ends, self._turn_asked = 0.0, False
        self._told = False
        """Somebody listens, or has."""

    def listen(self, listener: Listener) -> None:
        """Tell a listener what happens from now on."""
        super().listen(listener)
        self._told = True

    # Submitting.

    def submit(self, task: Task) -> None:
        """Have a task run, as `Admission.submit` says. Raises TypeError if it is no call of an async function."""
        check_coroutine_function(task)
        super().submit(task)

    def offer(self, task: Task, *, again: bool = False) -> bool:
        """Submit a task without waiting, as `Admission.offer` says; TypeError as from `submit`."""
        check_coroutine_function(task)
        return super().offer(task, again=again)

    def staff_up(self) -> None:
        """Have the loop look at what waits; start its thread if there is none."""
        if self._loop is None:
            self._start()
        self._short = False  # before the loop is called, which may set it again
        self._tell(self._muster)

    def run_here(self, task: Task) -> None:
        """Run a task at once, besides those that have a place; the submitter waits until it has ended."""
        self.books.without_place.add()
        if self._loop is None:
            self._start()
        self._beside.add(task)  # then the look whether the loop has gone: it does it the other way round
        if not self._tell(self._hire, task) or self._departed.is_set():
            self._send_away()
        Future._wait(task, None)

    def wait_inside(self, worker: Worker, task: Task, timeout: Seconds | None) -> End:
        """Refuse to wait for a task on the loop that it needs."""
        raise RuntimeError(CANNOT_WAIT)

    def expect_wait(self, worker: Worker) -> None:
        """Refuse to wait for tasks on the loop that they need."""
        raise RuntimeError(CANNOT_WAIT)

    def lend_place(self) -> Callable[[], object] | None:
        """Let another call run as long as the one that asks awaits one of this crew; return what ends the loan."""
        place = at_place.get(None)
        if place is None or place.crew is not self or place.task is None or running_loop() is not self._loop:
            return None
        limit = max(1_000, 4 * self.size)
        if not place.loans and len(self._away) >= limit:
            raise NestedWaitLimit(limit, (place.task.name,))
        place.loans += 1
        self._away.add(place)
        self._short = True  # the call that it awaits is submitted next
        self._tell(self._muster)
        return partial(self._take_back, place, place.task)

    def _take_back(self, place: Place, task: Task) -> None:
        if place.task is task and place.loans:
            place.loans -= 1
            if not place.loans:
                self._away.discard(place)
                self._attention = True

    # A call; on the loop.

    async def _serve(self, place: Place) -> None:
        line, tally, take = self.line, self.tally, self.items.get_nowait
        cancelling = place.aio.cancelling
        while not (cancelling() or (self._attention and not self._may_stay(place))):
            try:
                item = None if self.paused and self._is_held() else take()
            except Empty:
                item = None
            if item is None:
                if not await self._park(place):
                    return
                continue
            task = line.best(item) if line.ordered else item
            if task is None:
                continue
            place.task = task  # busy, then taken: see _ended
            tally.taken += 1
            if line.bell and not self._hands_over:
                line.ring()
            rest = self._begin(task, place)
            if rest is not None:
                await self._go_on(task, place, *rest)
                if place.spoilt or place.written_off:
                    return
            elif tally.mark > self._turn_ends:
                await self._yield_turn()
            del item, task, rest  # before it is idle: what nobody else holds can go

    async def _serve_one(self, place: Place, task: Task) -> None:
        self._beside.discard(task)
        rest = self._begin(task, place)
        if rest is not None:
            await self._go_on(task, place, *rest)

    def _begin(self, task: Task, place: Place) -> tuple[Context, Coroutine[Any, Any, Any], Any] | None:
        """Run a call's first step; return what its other steps need, None if it has ended, or is nobody's to run."""
        if task.terms is not None and not self._agree(task, place):
            self._clear(place, task)
            return None
        # ruff: noqa: SLF001 - as Task.perform, of which this is the counterpart, it runs once per call
        try:
            del task._ticket
        except AttributeError:
            self._clear(place, task)
            return None
        tally = self.tally
        tally.started += 1
        place.started += 1
        fn, args, kwargs, context = task._fn, task._args, task._kwargs, task.context
        task._args = task._kwargs = task.context = None
        if context is None:
            context = place.fresh()
        else:
            context.run(at_place.set, place)
        place.mark, place.task, here.worker = tally.mark, task, place
        if self._told:
            self._announce(task, place)
        try:
            coro = fn(*args, **kwargs) if kwargs else fn(*args)
            del fn, args, kwargs
            return context, coro, context.run(coro.send, None)
        except StopIteration as stop:
            # What follows is `_finish` in one piece: in calls, it would be a tenth of all that a call costs.
            now = monotonic()
            if now - tally.mark > QUICK or not tally.started & tally.mask:
                tally.time(task, now)
            tally.mark = now
            if task.seize_end():
                tally.done += 1
                task._fn = None
                callbacks = task._conclude(RETURNED, stop.value)
                place.task = None
                if callbacks or place.limits or place.loans or self._hands_over or self._told:
                    self._clear(place, task, callbacks)
                return None
            self._finish(task, place, RETURNED, stop.value)
        except BaseException as error:  # noqa: BLE001 - the edge of a worker: also SystemExit ends only this task
            self._finish(task, place, RAISED, error)
        return None

    async def _go_on(self, task: Task, place: Place, context: Context, coro: Any, awaited: Any) -> None:
        """Run the other steps of a call that has suspended."""
        self._under_way[task] = place
        self._short = True  # then look again: see Races of LoopRoster
        if not self.items.empty():
            self._muster()
        end: End = RETURNED
        try:
            value = await rest_of(place, context, coro, awaited)
        except BaseException as error:  # noqa: BLE001 - as above
            end, value = RAISED, error
        del self._under_way[task], coro, awaited
        self.tally.mark = place.mark
        self._finish(task, place, end, value)
        if isinstance(value, GeneratorExit):  # the loop is gone
            raise value

    def _agree(self, task: Task, place: Place) -> bool:
        """See to a call's limits, before its ticket is taken; False if it is not to begin."""
        terms = task.terms
        if isinstance(terms, Terms):
            terms.worker = place
            if terms.deadline <= monotonic():  # its alarm is late
                self.time_out(task)
                return False
            if terms.scope is not None and terms.scope.cancelled:
                return False  # whoever cancels that comes to this call: see Crew._agree
            if terms.course is not None and (refused := self.parking.ask(task, terms.course)) is not None:
                call_back(task, refused)
                return False
        timeout = task.options.timeout
        if timeout is not None:
            try:
                self._overdue.watch(place, task, self.tally.mark + timeout)
            except RuntimeError:  # no thread for the timer, as when the interpreter ends: then the loop must do
                asyncio.get_running_loop().call_later(timeout, self._strike, place, task)
        return True

    def _announce(self, task: Task, place: Place) -> None:
        """Tell listeners of a start, and note what they are to be told at the end."""
        listeners = task.crew.listeners
        if listeners:
            now = monotonic()
            place.told = (task.name, now)
            listeners.tell(TaskStarted(task.name, place.name, now - task.submitted_at))

    def _finish(self, task: Task, place: Place, end: End, value: Any) -> None:
        if end is RAISED:
            if isinstance(value, asyncio.CancelledError | GeneratorExit):
                task.on_terms().asked = True  # whoever asked for it: what a cancellation ends is cancelled
                value = TaskCancelled(task.name)
            else:
                without_our_frames(value)
        self._clear(place, task, task.finish(end, value, self.tally))

    def _clear(self, place: Place, task: Task, callbacks: Sequence[Callback] | None = ()) -> None:
        """Have a place be free again, and call back; None: the call has timed out before it came to its end."""
        place.task = None
        if place.limits:
            place.limits.clear()
        if place.loans:
            place.loans = 0
            self._away.discard(place)
        if self._hands_over and self.line.bell:
            self.line.ring()
        if place.told is not None:
            (name, began), place.told = place.told, None
            task.crew.listeners.tell(TaskEnded(name, place.name, outcome_of(task, callbacks), monotonic() - began))
        if task.terms is not None and task.course is not None:
            callbacks = self.parking.come_back(task, task.course, callbacks)
        if callbacks:
            call_back(task, callbacks)
            self.tally.mark = monotonic()

    async def _yield_turn(self) -> None:
        here.worker = None
        if not self._turn_asked:
            self._turn_asked = True
            asyncio.get_running_loop().call_soon(self._begin_turn)  # before any of those who yield in this one
        await yield_to_loop()
        self.tally.mark = monotonic()

    def _begin_turn(self) -> None:
        self._turn_asked = False
        self._turn_ends = monotonic() + TURN

    # Cancelling, and writing off.

    def interrupt(self, task: Task) -> None:
        """Cancel a running call; from any thread."""
        self._tell(self._cancel_call, task)

    def _cancel_call(self, task: Task) -> None:
        place = self._under_way.get(task)
        if place is not None:
            place.aio.cancel()

    def _strike(self, worker: Worker, task: Task) -> None:
        error = TaskTimeout(task.name, task.options.timeout or 0.0)
        if worker.task is task and not self.expire(task, error):
            self.stop_running(task, error)

    def stop_running(self, task: Task, error: Exception) -> None:
        """Called by the timer: end a task that runs past its deadline, and have its call cancelled."""
        if not task.claim_running():
            return
        task.books.overdue.add()
        task.ask()  # before the end: then its scope would hand up what it is to cancel
        callbacks = task.conclude(RAISED, error)
        task.cancel_children()
        self._tell(self._expel, task, callbacks)

    def _expel(self, task: Task, callbacks: Sequence[Callback]) -> None:
        call_back(task, callbacks)
        place = self._under_way.get(task)
        if place is not None:
            place.aio.cancel()
            asyncio.get_running_loop().call_later(GRACE, self._write_off, place, task)

    def _write_off(self, place: Place, task: Task) -> None:
        """Give the place of a call that does not let itself be cancelled to another one."""
        if place.task is not task or place.written_off:
            return
        place.written_off = True
        self._places.discard(place)
        self._extra.discard(place)
        self._away.discard(place)
        self._stuck.add(place)
        if self.listeners:
            self.listeners.tell(WorkerWrittenOff(place.name, task.name))
        if len(self._stuck) > max(1_000, 4 * self.size):
            self.refusal = partial(
                PoolClosed, f"this pool has given up: {len(self._stuck)} calls ignore that they timed out"
            )
            self.fail_waiting(self.refusal)
            self.line.close()
        self._muster()
