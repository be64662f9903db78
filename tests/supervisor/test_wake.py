"""Two processes that wake each other: a ring is heard, many are one, and nobody ever waits to ring."""

from __future__ import annotations

import gc
import socket
import threading
import warnings
from contextlib import suppress

import pytest

from millhand.supervisor import Wake


@pytest.fixture
def pair():
    """Two ends. A Wake lives as long as its process, so letting go of one takes a few words here."""
    threads = set(threading.enumerate())
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    spares = [first.dup(), second.dup()]
    ends = [Wake(first.detach()), Wake(second.detach())]
    yield ends
    for spare in spares:
        with suppress(BlockingIOError):
            spare.send(b"", socket.MSG_DONTWAIT)  # an empty datagram ends a listener
        spare.close()
    for thread in set(threading.enumerate()) - threads:
        thread.join(5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        ends.clear()
        gc.collect()


def test_a_ring_is_heard_on_the_other_side(pair):
    ours, theirs = pair
    heard = threading.Event()
    theirs.listen(heard.set)

    ours.ring()

    assert heard.wait(5.0)


def test_both_sides_ring_and_listen(pair):
    ours, theirs = pair
    heard = [threading.Event(), threading.Event()]
    ours.listen(heard[0].set)
    theirs.listen(heard[1].set)

    ours.ring()
    theirs.ring()

    assert heard[0].wait(5.0)
    assert heard[1].wait(5.0)


def test_a_ring_before_anybody_listens_is_heard(pair):
    ours, theirs = pair
    ours.ring()
    heard = threading.Event()

    theirs.listen(heard.set)

    assert heard.wait(5.0)


def test_ringing_never_waits_also_when_nobody_listens(pair):
    ours, _ = pair

    for _ in range(10_000):
        ours.ring()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_ringing_somebody_who_is_gone_does_nothing():
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours = Wake(first.detach())
    second.close()

    ours.ring()
    ours.ring()

    del ours


def test_the_listener_has_a_readable_name_and_keeps_no_program_alive(pair):
    ours, _ = pair
    before = set(threading.enumerate())

    ours.listen(lambda: None)

    [listener] = set(threading.enumerate()) - before
    assert listener.name == "millhand-wake"
    assert listener.daemon
