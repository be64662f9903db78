"""The child's end of the line. Each runs in a process of its own: a broken line ends the whole process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest

from millhand.supervisor import Message
from millhand.supervisor.lifeline import ORPHANED

pytestmark = pytest.mark.slow

PRELUDE = """
import sys
from millhand.supervisor import lifeline
lifeline.PULSE_EVERY = float(sys.argv[2])
line = lifeline.Lifeline(int(sys.argv[1]))
"""


@pytest.fixture
def start():
    """Return what starts a process with a Lifeline, and gives it with our end of the line as a file."""
    begun = []

    def begin(program, pulse=1000.0):
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-c", PRELUDE + program, str(theirs.fileno()), str(pulse)]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        file = ours.makefile("rwb", buffering=0)
        ours.close()
        begun.append((process, file))
        return process, file

    yield begin
    for process, file in begun:
        process.kill()
        process.wait()
        file.close()


def test_a_message_is_one_line_and_comes_back_whole():
    message = Message("failed", {"reason": "line one\nline two — ünïcode", "code": 2})

    assert message.to_line().count(b"\n") == 1
    assert Message.from_line(message.to_line()) == message


def test_both_ends_hear_each_other(start):
    process, file = start("line.send('loaded', url='x')\nsys.exit(line.receive().data['code'])")

    said = json.loads(file.readline())
    file.write(Message("begin", {"code": 7}).to_line())

    assert said == ["loaded", {"url": "x"}]
    assert process.wait(10.0) == 7


def test_several_messages_are_received_in_order(start):
    process, file = start("print([line.receive().kind for _ in range(3)] == ['a', 'b', 'c'] or sys.exit(9))")

    file.write(b"".join(Message(kind).to_line() for kind in "abc"))

    assert process.wait(10.0) == 0


def test_a_broken_line_ends_the_process_whatever_it_does(start):
    process, file = start("import threading\nline.send('ready')\nthreading.Event().wait()")
    file.readline()

    file.close()

    assert process.wait(2.0) == ORPHANED


def test_sending_on_a_broken_line_does_nothing(start):
    process, file = start("import threading\nwhile True: line.send('pulse')")
    file.readline()

    file.close()

    assert process.wait(2.0) == ORPHANED


def test_the_pulse_beats_by_itself(start):
    _, file = start("import threading\nthreading.Event().wait()", pulse=0.01)

    assert [json.loads(file.readline()) for _ in range(3)] == [["pulse", {}]] * 3


def test_a_function_that_holds_the_gil_stops_the_pulse(start):
    """That is how the supervisor can tell."""
    process, file = start(
        "import time\n"
        "line.send('holding')\n"
        "any(map((time.monotonic() + 0.15).__lt__, iter(time.monotonic, None)))\n"
        "line.send('done')\nline.receive()\n",
        pulse=0.01,
    )
    while json.loads(file.readline())[0] != "holding":
        pass

    kinds = []
    while (kind := json.loads(file.readline())[0]) != "done":
        kinds.append(kind)

    assert len(kinds) <= 3
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
