"""One child as its supervisor sees it: started, listened to, killed with all that it started, and restarted later."""

from __future__ import annotations

import os
import select
import signal
import sys

import pytest

from millhand.supervisor import ChildSpec
from millhand.supervisor.child import RESTART_DELAYS, STEADY_AFTER, Child

NOW = 1000.0


def python(program):
    return ChildSpec("fake", [sys.executable, "-I", "-S", "-c", program])


@pytest.fixture
def begun():
    """Return what starts a child and, in the end, buries it."""
    children = []

    def start(program, now=NOW):
        child = Child(python(program))
        child.start(now)
        children.append(child)
        return child

    yield start
    for child in children:
        if child.process is not None:
            child.kill()
            child.process.wait()
            child.bury(NOW)


def end(child, now):
    """Let a child end, bury it, and return its exit code."""
    child.kill()
    child.process.wait()
    return child.bury(now)


def test_the_first_restart_is_at_once_and_each_later_one_waits_longer(begun):
    child = begun("input()")
    delays = []

    for _ in range(8):
        end(child, NOW)
        delays.append(child.start_at - NOW)
        child.start(NOW)

    assert delays == [*RESTART_DELAYS, RESTART_DELAYS[-1], RESTART_DELAYS[-1]]
    assert delays == sorted(delays)


def test_a_child_that_lived_for_a_minute_begins_anew(begun):
    child = begun("input()")
    for _ in range(4):
        end(child, NOW)
        child.start(NOW)

    end(child, NOW + STEADY_AFTER + 1)

    assert child.start_at == NOW + STEADY_AFTER + 1


@pytest.mark.parametrize(
    ("program", "expected"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM)]
)
def test_its_exit_code_is_told(begun, program, expected):
    child = begun(program)
    child.process.wait()

    assert not child.is_alive
    assert child.bury(NOW) == expected
    assert child.process is None


def test_it_has_a_process_group_of_its_own_and_no_input(begun):
    child = begun("import sys; sys.exit(len(sys.stdin.read()))")

    group = os.getpgid(child.process.pid)

    assert child.process.wait() == 0
    assert group == child.process.pid != os.getpgid(0)


def test_killing_it_kills_what_it_started(begun):
    child = begun(
        "import socket, subprocess, sys\n"
        "line = socket.socket(fileno=int(sys.argv[1]))\n"
        "inner = subprocess.Popen(['sleep', '60'])\n"
        'line.sendall(b\'["ready", {"inner": %d}]\\n\' % inner.pid)\n'
        "inner.wait()\n"
    )
    child.line.setblocking(True)
    [message] = child.receive()
    inner = os.pidfd_open(message.data["inner"])

    end(child, NOW)

    assert select.select([inner], [], [], 5.0)[0]
    os.close(inner)


def test_messages_that_come_in_pieces_are_put_together(begun):
    child = begun(
        "import socket, sys\n"
        "line = socket.socket(fileno=int(sys.argv[1]))\n"
        "for piece in (b'[\"pul', b'se\", {}]\\n[\"ready\", {\"port\"', b': 1}]\\n'):\n"
        "    line.sendall(piece)\n"
        "    line.recv(1)\n"
    )
    child.line.setblocking(True)
    heard = []
    while len(heard) < 2:
        heard += [(message.kind, message.data) for message in child.receive()]
        child.line.send(b"!")

    assert heard == [("pulse", {}), ("ready", {"port": 1})]


def test_what_is_said_to_a_dead_child_is_lost_without_a_word(begun):
    child = begun("pass")
    child.process.wait()

    child.send("stop", grace=1.0)
    child.send("stop", grace=1.0)

    assert child.receive() == []


def test_its_line_is_closed_when_it_is_buried(begun):
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    child = begun("pass")
    child.process.wait()

    child.bury(NOW)

    assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208 - a count
    assert child.receive() == []
    child.send("stop")
    child.kill()


def test_a_command_that_does_not_exist_is_an_error():
    child = Child(ChildSpec("fake", ["/no/such/program"]))

    with pytest.raises(FileNotFoundError):
        child.start(NOW)
