"""The commands as a person types them: beside a service, with a program of one's own, and with mistakes."""

from __future__ import annotations

import json
import socket

import pytest

from tests.service.service import Service, run_millhand

pytestmark = pytest.mark.slow

PROGRAM = """
from millhand.jobs import Jobs

mine = Jobs("sqlite:///mine.db")


@mine.register
def double(number: int) -> int:
    return 2 * number
"""


def only_line(said):
    """Return the line that was said, provided that it was the only one."""
    lines = said.splitlines()
    assert len(lines) == 1, said
    return lines[0]


def test_jobs_that_one_service_takes_in_are_run_by_another_on_the_same_database(tmp_path):
    with Service(tmp_path, "--no-runner") as http, Service(tmp_path, command="run", wait=False) as runner:
        waiting = http.submit("echo", {"text": "hi"})
        runner.wait_until_ready()

        job = http.wait_for(waiting)

        assert (job["state"], job["result"]) == ("completed", "hi")
        assert len(http.processes()) == len(runner.processes()) == 2
        assert http.client.get("/health").json()["runners"] == 1
        assert (http.stop(), runner.stop()) == (0, 0)


def test_the_shell_commands_work_beside_a_service(service):
    waited = run_millhand(service.folder, "submit", "echo", '{"text": "häi"}', "--wait")
    submitted = run_millhand(service.folder, "submit", "job-7")
    id = submitted.stdout.strip()
    service.wait_for(id)
    shown = run_millhand(service.folder, "jobs", id)
    listed = run_millhand(service.folder, "jobs", "--type", "job-*", "--state", "completed")

    assert (waited.stdout, waited.stderr, waited.returncode) == ('"häi"\n', "", 0)
    assert json.loads(shown.stdout) == service.get(id)
    assert [line for line in listed.stdout.splitlines() if line.startswith(id)]
    assert "2 completed" in listed.stdout.splitlines()[-1]


def test_submit_that_waits_for_a_job_that_fails_says_why_with_exit_code_1(service):
    done = run_millhand(service.folder, "submit", "hash_file", '{"path": 7}', "--wait")

    assert done.returncode == 1
    assert "BadArguments" in only_line(done.stderr)


@pytest.mark.parametrize("target", ["program:mine", "package.inner"])
def test_a_program_in_the_working_directory_is_served(tmp_path, target):
    (tmp_path / "package").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "package" / "inner.py").write_text("from program import mine as jobs\n")
    with Service(tmp_path, target) as service:
        job = service.wait_for(service.submit("double", {"number": 21}))

        refused = service.client.post("/jobs", json={"type": "double", "payload": {"number": "x"}})

    assert job["result"] == 42
    assert refused.status_code == 422
    assert (tmp_path / "mine.db").exists()


def test_another_database_can_be_named_for_a_program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {"DATABASE_URL": "sqlite:///other.db"}
    with Service(tmp_path, "program:mine", environment=environment) as service:
        service.wait_for(service.submit("double", {"number": 21}))

    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "mine.db").exists()


@pytest.mark.parametrize(
    ("content", "target", "why"),
    [
        ("raise RuntimeError('no key')", "program", "fails on import: RuntimeError: no key"),
        ("raise SystemExit('set API_KEY')", "program", "set API_KEY"),
    ],
    ids=["raises", "exits"],  # the others are tried in tests/cli/test_target.py, without processes
)
def test_a_program_that_cannot_be_served_is_one_clear_line_and_exit_code_2(tmp_path, content, target, why):
    """Each of the two children said it; a program that called sys.exit was started again and again, for ever."""
    (tmp_path / "program.py").write_text(content)
    with Service(tmp_path, target, wait=False) as service:
        code = service.wait(8.0)

    line = only_line(service.output)
    assert why in line
    assert code == 2


def test_a_program_that_dies_while_it_is_loaded_ends_the_service_with_exit_code_1(tmp_path):
    """It was started again and again, for ever: only a child that was ready once is worth that."""
    (tmp_path / "program.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with Service(tmp_path, "program", wait=False) as service:
        code = service.wait(8.0)

    assert code == 1
    assert "SIGKILL" in service.output
    assert "Traceback" not in service.output


def test_a_port_that_is_taken_is_one_clear_line_and_exit_code_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Service(tmp_path, "--http-port", str(port), wait=False) as service:
            code = service.wait()

    line = only_line(service.output)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert code == 1
    assert service.processes() == []


def test_a_database_that_cannot_be_opened_is_one_clear_line_and_exit_code_1(tmp_path):
    with Service(tmp_path, "--database-url", "sqlite:///no/such/folder.db", wait=False) as service:
        code = service.wait()

    line = only_line(service.output)
    assert "cannot open the database no/such/folder.db" in line
    assert code == 1


def test_a_database_that_makes_no_sense_is_refused_before_anything_is_started(tmp_path):
    done = run_millhand(tmp_path, "serve", environment={"DATABASE_URL": "mysql://db/work"})

    assert done.returncode == 2
    assert "DATABASE_URL='mysql://db/work'" in only_line(done.stderr)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_listens_on_the_address_that_it_is_told(tmp_path):
    with Service(tmp_path, "--http-host", "::", "--insecure") as service:
        assert service.base.startswith("http://[::]:")
        assert service.client.get("/livez").status_code == 200
