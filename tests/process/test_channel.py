"""The channel: messages arrive whole, in order and with their file, or it says that the other end is closed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millhand.pool.process.channel import CHUNK, Channel, Kind
from millhand.pool.process.sheet import make_file
from tests.process.patience import open_files

KINDS = st.sampled_from(Kind)
NUMBERS = st.integers(0, 2**64 - 1)
SIZES = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
BODIES = st.binary(max_size=100) | st.builds(lambda size, byte: bytes([byte]) * size, SIZES, st.integers(0, 255))


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    here, there = pair()
    yield here, there
    here.close()
    there.close()


def pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return Channel(one), Channel(other)


def in_background(call: Callable[[], None]) -> threading.Thread:
    """Send from another thread: a socket does not hold as much as a message may have."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


@given(st.lists(st.tuples(KINDS, NUMBERS, BODIES), max_size=5))
def test_messages_arrive_whole_and_in_order(messages: list[tuple[Kind, int, bytes]]) -> None:
    here, there = pair()

    def send() -> None:
        for message in messages:
            here.send(*message)

    thread = in_background(send)
    received = [there.receive()[:3] for _ in messages]

    thread.join()
    here.close()
    there.close()
    assert received == messages


@given(st.lists(st.booleans(), max_size=5))
def test_each_file_arrives_with_the_message_that_it_was_sent_with(with_file: list[bool]) -> None:
    here, there = pair()
    for number, has_file in enumerate(with_file):
        file = make_file(number) if has_file else None
        here.send(Kind.LARGE, number, b"body", file)
        if file is not None:
            os.close(file)

    for number, has_file in enumerate(with_file):
        _, same, body, received = there.receive()

        assert (same, body, received is not None) == (number, b"body", has_file)
        if received is not None:
            assert os.fstat(received).st_size == number
            os.close(received)
    here.close()
    there.close()


@given(st.data(), BODIES, st.booleans())
def test_a_message_that_is_cut_anywhere_is_the_end_and_neither_hangs_nor_is_half_read(
    data: st.DataObject, body: bytes, announces_file: bool
) -> None:
    sent = whole(body, announces_file)
    cut = data.draw(st.integers(0, len(sent) - (not announces_file)))
    here, there = pair()

    def send() -> None:
        here.socket.sendall(sent[:cut])
        here.close()

    thread = in_background(send)
    with pytest.raises(EOFError):
        there.receive()

    thread.join()
    there.close()


def whole(body: bytes, announces_file: bool) -> bytes:
    """Return what is sent for a message, without its file."""
    here, there = socket.socketpair()
    parts = list[bytes]()

    def read() -> None:
        while part := there.recv(CHUNK):
            parts.append(part)

    thread, file = in_background(read), make_file(1) if announces_file else None
    Channel(here).send(Kind.CALLS, 1, body, file)
    here.close()
    thread.join()
    there.close()
    if file is not None:
        os.close(file)
    sent = b"".join(parts)
    return sent[: len(sent) - announces_file]


def test_who_receives_when_the_other_end_is_gone_is_told_so(ends: tuple[Channel, Channel]) -> None:
    here, there = ends
    here.socket.sendall(b"unread")
    there.close()  # with something unread: the connection is reset

    with pytest.raises(EOFError):
        here.receive()


def test_who_sends_when_the_other_end_is_gone_is_told_so(ends: tuple[Channel, Channel]) -> None:
    here, there = ends
    there.close()

    with pytest.raises(OSError, match="Broken pipe"):
        here.send(Kind.OVER)


def test_a_message_without_its_file_leaves_none_open(ends: tuple[Channel, Channel]) -> None:
    here, there = ends
    before = open_files()
    here.socket.sendall(whole(b"", announces_file=True))
    here.socket.shutdown(socket.SHUT_WR)

    with suppress(EOFError):
        there.receive()

    assert open_files() == before
