"""The supervisor's whole life with fake children: start, restart, stall, stop, and what it says of each."""

from __future__ import annotations

import os
import signal
import time

import pytest

from millhand.core.errors import StoreError
from millhand.jobs import Jobs, open_store
from millhand.supervisor import SupervisorSettings
from tests.supervisor.fakes import OBEDIENT, TELLS_TO_STOP, Family

IMPATIENT = SupervisorSettings(stall_limit=0.3, report_every=None)
DEAF = "begin(); say('ready'); signal_supervisor()\nwhile True: hear()"


def told(caplog):
    return [record.getMessage() for record in caplog.records]


def test_children_are_stopped_in_order_and_the_next_is_asked_when_the_first_has_gone(tmp_path):
    family = Family(tmp_path, http=OBEDIENT, runner=TELLS_TO_STOP)

    code = family.run()

    stops = [note for note in family.notes if note.split()[1] in {"stop", "ends"}]
    assert code == 0
    assert stops == ["http stop", "http ends", "runner stop", "runner ends"]


def test_no_child_is_started_anew_while_the_service_stops(tmp_path):
    """Each child that had been stopped was buried and, in the same turn, started again: an orphan that ended by
    itself, when it had found the line broken."""
    family = Family(tmp_path, http=OBEDIENT, runner=TELLS_TO_STOP)

    family.run()

    assert [note for note in family.notes if note.endswith("starts")] in (
        ["http starts", "runner starts"],
        ["runner starts", "http starts"],
    )


def test_it_ends_at_once_when_the_last_child_has_gone(tmp_path):
    """It went to sleep for a second first, with nobody left to wake it."""
    family = Family(tmp_path, http=OBEDIENT, runner=TELLS_TO_STOP)

    family.run()

    assert time.time() - (tmp_path / "notes").stat().st_mtime < 0.7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_the_program_has_its_own_handlers_back(tmp_path, number):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    family = Family(tmp_path, http=OBEDIENT.replace("kind,", f"signal_supervisor({int(number)}); kind,"))

    code = family.run()

    assert code == 0
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_it_tells_once_that_all_are_ready_and_what_they_said(tmp_path):
    http = "first = first_life(); begin(); say('ready', pid=os.getpid())\nif not first: signal_supervisor()\nhear()"
    family = Family(tmp_path, http=http, runner=OBEDIENT)
    told = []

    def kill_one(said):
        told.append(dict(said))
        os.kill(said["http"]["pid"], signal.SIGKILL)

    family.on_ready = kill_one
    family.run()

    [said] = told
    assert said["runner"]["said_to"] == "runner"
    assert family.notes_of("http").count("starts") == 2


def test_a_child_that_is_started_again_is_told_what_it_said_before(tmp_path):
    """So that it can take the port again that it had chosen freely."""
    http = """
first = first_life()
note(str(begin()["before"]))
say("ready", port=80)
sys.exit(0) if first else signal_supervisor()
hear()
"""
    family = Family(tmp_path, http=http)

    family.run()

    assert [note for note in family.notes_of("http") if note[0] in "N{"] == ["None", "{'port': 80}"]


def test_only_the_child_that_runs_jobs_is_announced_and_it_is_retired_in_the_end(tmp_path):
    family = Family(tmp_path, http=OBEDIENT, runner=TELLS_TO_STOP)
    announced = []
    family.on_ready = lambda said: announced.append((said, runners(tmp_path)))

    family.run()

    [(said, during)] = announced
    assert during == [said["runner"]["runner"]]
    assert "runner" not in said["http"]
    assert runners(tmp_path) == []


def runners(folder):
    with Jobs(f"sqlite:///{folder / 'work.db'}") as jobs:
        return [row.id for row in jobs.store.reading.runners()]


def test_the_jobs_of_a_dead_runner_wait_again_before_the_next_one_begins(tmp_path):
    runner = """
first = first_life()
orders = begin()
with sqlite3.connect(f"{FOLDER}/work.db") as database:
    note(str(database.execute("SELECT state, attempt, token FROM jobs").fetchall()))
if not first:
    signal_supervisor()
say("ready", pid=os.getpid(), **orders)
hear()
"""
    family = Family(tmp_path, runner=runner)
    with Jobs(f"sqlite:///{tmp_path / 'work.db'}") as jobs:
        jobs.register("work")(lambda: None)
        job = jobs.submit("work")

        def claim_and_kill(said):
            claimed = jobs.store.claims.claim(said["runner"]["runner"], room=1, types=["work"])
            assert [each.id for each in claimed.jobs] == [job.id]
            os.kill(said["runner"]["pid"], signal.SIGKILL)

        family.on_ready = claim_and_kill
        code = family.run()

    assert code == 0
    assert [note for note in family.notes_of("runner") if "[" in note] == ["[('pending', 0, 0)]", "[('pending', 0, 2)]"]


@pytest.mark.parametrize(
    ("end", "said"),
    [("sys.exit(3)", "exit code 3"), ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL")],
)
def test_a_child_that_ends_is_started_again_and_it_is_said_how_it_ended(tmp_path, caplog, end, said):
    http = f"begin(); say('ready')\nif first_life(): {end}\nsignal_supervisor(); hear()"
    family = Family(tmp_path, http=http)

    code = family.run()

    assert code == 0
    assert told(caplog) == [f"http ended with {said}; it is started again"]


def test_a_child_that_dies_before_it_was_ever_ready_ends_the_service(tmp_path, caplog):
    """It was started again for ever, also when the user's program called sys.exit on import."""
    family = Family(tmp_path, http="begin()\nif not first_life(): signal_supervisor()\nsys.exit(3)", runner=OBEDIENT)

    code = family.run()

    assert code == 1
    assert family.notes_of("http").count("starts") == 1
    assert "exit code 3" in "\n".join(told(caplog))


@pytest.mark.parametrize(("data", "expected"), [("", 1), (", code=2", 2)])
def test_a_child_that_says_it_failed_ends_the_service_with_its_code(tmp_path, caplog, data, expected):
    family = Family(tmp_path, http=f"say('failed', reason='no such port'{data})", runner=OBEDIENT)

    code = family.run()

    assert code == expected
    assert told(caplog) == ["no such port"]


def test_it_does_not_tell_that_all_are_ready_once_one_has_failed(tmp_path):
    """The port was taken, and then it said: 10 workers are ready."""
    late = "begin(); hear(); say('ready')"  # ready when it is told to stop: the other one has gone by then
    family = Family(tmp_path, http="say('failed', reason='no such port')", runner=late)
    told_ready = []
    family.on_ready = told_ready.append

    code = family.run()

    assert code == 1
    assert told_ready == []


def test_what_both_children_say_is_said_once(tmp_path, caplog):
    """Both load the user's program, so both complain about it."""
    fails = "say('failed', reason='no such program', code=2)"
    family = Family(tmp_path, http=fails, runner=fails)

    code = family.run()

    assert code == 2
    assert told(caplog) == ["no such program"]


def test_the_last_words_of_a_child_are_heard(tmp_path, caplog):
    """Between listening to a child and looking whether it lives, it could say why it failed, and end: its words
    were thrown away, and it was started again."""
    os.mkfifo(tmp_path / "go")
    http = """
say("loaded", url=f"sqlite:///{FOLDER}/work.db")
open(f"{FOLDER}/go").read()
if not first_life(): signal_supervisor()
say("failed", reason="these are my last words", code=2)
"""
    family = Family(tmp_path, http=http)

    others = set(children_of(os.getpid()))  # such as a forkserver

    def open_slowly(url):
        [pid] = set(children_of(os.getpid())) - others
        (tmp_path / "go").write_text("")
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return open_store(url)

    family.open_store = open_slowly
    code = family.run()

    assert told(caplog) == ["these are my last words"]
    assert code == 2


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123 - nothing to be gained
        return [int(child) for child in children.read().split()]


def test_a_database_that_cannot_be_opened_ends_the_service_in_order(tmp_path, caplog):
    family = Family(tmp_path, http="begin()", runner="begin()")

    def refuse(url):
        raise StoreError("no room")

    family.open_store = refuse
    code = family.run()

    assert code == 1
    assert told(caplog) == ["no room"]


def test_a_signal_before_a_child_has_loaded_is_told_to_it_in_place_of_its_orders(tmp_path):
    family = Family(tmp_path, http="signal_supervisor(); note(hear()[0])", runner=OBEDIENT)

    code = family.run()

    assert code == 0
    assert family.notes_of("http") == ["starts", "stop"]


@pytest.mark.slow
def test_a_runner_that_is_silent_for_too_long_is_killed_and_started_again(tmp_path, caplog):
    silent = "first = first_life(); begin(); say('ready')\nif not first: signal_supervisor()\nhear()"
    family = Family(tmp_path, IMPATIENT, runner=silent)

    began = time.monotonic()
    code = family.run()

    assert code == 0
    assert 0.3 <= time.monotonic() - began < 5.0
    assert told(caplog) == [
        "runner was silent for 0.3 s and is killed",
        "runner ended with signal SIGKILL; it is started again",
    ]


@pytest.mark.slow
def test_a_runner_that_sends_its_pulse_is_not_killed(tmp_path, caplog):
    patient = """
import select
begin(); say("ready")
for _ in range(12):
    select.select([], [], [], 0.05)
    say("pulse")
signal_supervisor(); hear()
"""
    family = Family(tmp_path, IMPATIENT, runner=patient)

    code = family.run()

    assert code == 0
    assert told(caplog) == []


@pytest.mark.slow
def test_only_who_runs_jobs_is_watched_for_silence(tmp_path, caplog):
    quiet = "import select; begin(); say('ready'); select.select([], [], [], 0.6); signal_supervisor(); hear()"
    family = Family(tmp_path, IMPATIENT, http=quiet)

    code = family.run()

    assert code == 0
    assert told(caplog) == []


@pytest.mark.slow
def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path, caplog, monkeypatch):
    """It was killed, and that was logged, hundreds of times while the system took it apart."""
    monkeypatch.setattr("millhand.supervisor.supervisor.KILL_AFTER", 0.2)
    settings = SupervisorSettings(grace=0.1, http_grace=0.1, report_every=None)
    family = Family(tmp_path, settings, http=DEAF, runner=OBEDIENT)
    began = time.monotonic()

    code = family.run()

    assert code == 0
    assert 0.3 <= time.monotonic() - began < 5.0
    assert told(caplog) == ["http did not stop in time and is killed"]
    assert family.notes_of("runner")[-1] == "ends"


def test_a_second_signal_kills_what_is_left(tmp_path):
    insists = "begin(); say('ready'); signal_supervisor(); hear(); signal_supervisor()\nwhile True: hear()"
    family = Family(tmp_path, http=insists, runner=OBEDIENT)
    began = time.monotonic()

    code = family.run()

    assert code == 0
    assert time.monotonic() - began < 4.0
    assert "ends" not in family.notes_of("runner")


def test_a_summary_is_logged_when_something_has_changed(tmp_path, caplog):
    caplog.set_level("INFO")
    settings = SupervisorSettings(grace=5.0, http_grace=5.0, report_every=0.0001)
    family = Family(
        tmp_path, settings, http="import select; begin(); select.select([], [], [], 0.05); say('ready'); hear()"
    )
    with Jobs(f"sqlite:///{tmp_path / 'work.db'}") as jobs:
        jobs.register("work")(lambda: None)

        def submit(said):
            jobs.submit("work")
            os.kill(os.getpid(), signal.SIGTERM)

        family.on_ready = submit
        family.run()

    assert any(line.startswith("1 pending, 0 scheduled") for line in told(caplog))
    assert len(told(caplog)) == 1
