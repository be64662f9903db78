"""`millhand submit` and `millhand jobs` on a database of the test's own."""

from __future__ import annotations

import json

import pytest
import typer.testing

from millhand.cli.main import app
from millhand.jobs import Jobs
from millhand.runner import Runner

runner = typer.testing.CliRunner()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'work.db'}"


@pytest.fixture
def jobs(url):
    """A program with three types, known to the database because a runner has declared them."""
    with Jobs(url) as jobs:

        @jobs.register
        def double(number: int) -> int:
            return 2 * number

        @jobs.register
        def label(text: str) -> str:
            return f"[{text}]"

        @jobs.register("odd-*")
        def odd() -> str:
            return "\\[x]"

        @jobs.register(max_attempts=1)
        def explode() -> None:
            raise RuntimeError("[boom]")

        jobs.store.housekeeping.declare_types(jobs.registry.names)
        yield jobs


def millhand(url, *arguments, code=0):
    result = runner.invoke(app, [*arguments, "--database-url", url])
    assert result.exit_code == code, result.output
    return result


def test_submit_keeps_a_job_and_prints_its_id(url, jobs):
    id = millhand(url, "submit", "double", '{"number": 21}', "--queue", "mail", "--priority", "3").stdout.strip()

    job = jobs.store.reading.get(id)
    assert (job.type, json.loads(job.payload), job.state) == ("double", {"number": 21}, "pending")
    assert (job.queue, job.priority) == ("mail", 3)


def test_submit_with_a_delay_schedules(url, jobs):
    id = millhand(url, "submit", "double", '{"number": 21}', "--delay", "5m").stdout.strip()

    job = jobs.store.reading.get(id)
    assert job.state == "scheduled"
    assert 299 < job.run_at - job.submitted_at < 301


@pytest.mark.slow
def test_submit_that_waits_prints_the_result(url, jobs):
    with Runner(jobs, workers=1):
        said = millhand(url, "submit", "double", '{"number": 21}', "--wait").stdout

    assert said == "42\n"


@pytest.mark.slow
def test_submit_that_waits_for_arguments_that_do_not_fit_ends_with_exit_code_1(url, jobs):
    with Runner(jobs, workers=1):
        said = millhand(url, "submit", "double", '{"nothing": 1}', "--wait", code=1).stderr

    assert said.startswith("millhand: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["submit", "unheard_of"], "no job type 'unheard_of'"),
        (["submit", "double", "{"], "double"),
        (["submit", "double", "7"], "double"),
        (["submit", "double", "{}", "--delay", "soon"], "'soon' is not a duration"),
        (["jobs", "--state", "lost"], "there is no state 'lost'; there are: pending, scheduled"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_and_changes_nothing(url, jobs, arguments, why):
    said = millhand(url, *arguments, code=2).stderr

    assert len(said.splitlines()) == 1
    assert why in said
    assert jobs.store.reading.find().jobs == []


def test_jobs_shows_one_job_as_json(url, jobs):
    id = jobs.submit("double", 21).id

    body = json.loads(millhand(url, "jobs", id).stdout)

    assert (body["id"], body["state"], body["payload"]) == (id, "pending", {"number": 21})


def test_jobs_says_when_there_is_no_such_job(url, jobs):
    assert millhand(url, "jobs", "nope", code=1).stderr.startswith("millhand: there is no job 'nope'")


def test_jobs_lists_the_newest_first_with_the_counts(url, jobs):
    """A list with a job in a state that has no colour (pending, scheduled) ended with a MarkupError."""
    first, second = jobs.submit("double", 1).id, jobs.submit("label", "x").id

    lines = millhand(url, "jobs").stdout.splitlines()

    assert [line.split()[0] for line in lines if line[:8] in {first[:8], second[:8]}] == [second, first]
    assert lines[-1].startswith("2 pending, 0 scheduled")


def test_jobs_lists_only_what_was_asked_for(url, jobs):
    ids = [jobs.submit("double", number).id for number in range(3)]
    jobs.submit("label", "x")

    limited = millhand(url, "jobs", "--type", "dou*", "--limit", "2").stdout
    completed = millhand(url, "jobs", "--state", "completed").stdout

    assert [id in limited for id in ids] == [False, True, True]
    assert "label" not in limited
    assert not [id for id in ids if id in completed]


@pytest.mark.slow
def test_the_list_shows_results_and_errors_as_they_are_and_keeps_them_short(url, jobs):
    with Runner(jobs, workers=1):
        handles = [jobs.submit("label", "green"), jobs.submit("label", "y" * 100)]
        handles += [jobs.submit("explode"), jobs.submit("odd-[red]x[/red]")]
        for handle in handles:
            jobs.watch.wait(handle.id, 10.0)

    said = millhand(url, "jobs").stdout

    assert '"[green]"' in said
    assert "yyy..." in said
    assert "y" * 70 not in said
    assert "RuntimeError: [boom]" in said
    assert "odd-[red]x[/red]" in said
    assert r'"\\[x]"' in said


def test_without_a_command_it_tells_what_there_is():
    said = runner.invoke(app, []).output

    assert all(command in said for command in ("serve", "run", "submit", "jobs"))
