"""The `millhand` command."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from millhand.cli.commands import list_jobs, show_job, submit_job
from millhand.cli.gallery import show_gallery
from millhand.cli.service import run_service
from millhand.cli.settings import SETTINGS, Setting, SettingError, Settings, read_settings
from millhand.cli.target import DEMO
from millhand.codec import parse_duration
from millhand.core.errors import MillhandError, UnknownJobType
from millhand.jobs import JobOptions

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

app = typer.Typer(
    name="millhand",
    help="Run Python functions with bounded concurrency, now or for certain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def with_settings(*names: str) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Give a command a flag for each of these settings (None named: all), and the settings as its first argument."""
    chosen = [setting for setting in SETTINGS if not names or setting.name in names]

    def wrap(command: Callable[..., int]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            flags = {setting.name: arguments.pop(setting.name) for setting in chosen}
            try:
                settings = read_settings(flags, os.environ, Path.cwd())
                raise typer.Exit(command(settings, **arguments))
            except (ValueError, UnknownJobType) as error:  # what was asked for makes no sense
                fail(str(error), code=2)
            except MillhandError as error:
                fail(str(error), code=1)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [*own, *map(_as_parameter, chosen)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return wrap


def _as_parameter(setting: Setting) -> inspect.Parameter:
    variables = ", ".join((setting.name.upper(), *setting.also))
    default = f"; default {setting.default}" if setting.default else ""
    text = f"{setting.help} [{variables}{default}]"
    option = typer.Option(setting.flag, help=text, show_default=False, metavar="VALUE")
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def fail(text: str, *, code: int) -> None:
    """Say in one line why the command ends, and end it."""
    print(f"millhand: {text}", file=sys.stderr)
    raise typer.Exit(code)


Target = Annotated[str, typer.Argument(metavar="[MODULE:ATTRIBUTE]", help="The Jobs to serve.", show_default=False)]


@app.command()
@with_settings()
def serve(
    settings: Settings,
    target: Target = DEMO,
    *,
    no_runner: Annotated[bool, typer.Option("--no-runner", help="Only take jobs in; run none.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine, without a token.")] = False,
) -> int:
    """Take jobs over HTTP and run them (the demo jobs, unless told otherwise)."""
    if settings.http_host not in LOOPBACK and not insecure:
        raise SettingError(
            f"http_host={settings.http_host} is open to other machines and there is no token; say --insecure to mean it"
        )
    return run_service(target, settings, http=True, runner=not no_runner)


@app.command()
@with_settings(
    "worker_count", "job_timeout", "database_url", "grace", "stall_limit", "metrics_enabled", "metrics_interval"
)
def run(settings: Settings, target: Target = DEMO) -> int:
    """Run kept jobs, without HTTP."""
    return run_service(target, settings, http=False, runner=True)


@app.command()
@with_settings("database_url")
def submit(  # noqa: PLR0913 - the flags of a command
    settings: Settings,
    type: Annotated[str, typer.Argument(help="The job's type, such as echo.")],
    payload: Annotated[str, typer.Argument(help="Its arguments, as JSON.")] = "{}",
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")] = False,
    queue: Annotated[str, typer.Option(help="The queue it waits in.")] = "default",
    priority: Annotated[int, typer.Option(help="Higher runs sooner.")] = 0,
    delay: Annotated[str, typer.Option(help="Not before this long from now, such as 5m.")] = "0s",
) -> int:
    """Keep a job straight in the database; a service need not be up."""
    options = JobOptions(queue=queue, priority=priority, delay=parse_duration(delay))
    return submit_job(settings.database_url, type, payload, options, wait=wait)


@app.command()
@with_settings("database_url")
def jobs(
    settings: Settings,
    id: Annotated[str | None, typer.Argument(help="Show this job whole, as JSON.")] = None,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    type: Annotated[str | None, typer.Option(help="Only jobs of this type (a glob).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
) -> int:
    """List jobs, newest first, or show one."""
    if id is not None:
        return show_job(settings.database_url, id)
    return list_jobs(settings.database_url, state=state, type=type, limit=limit)


@app.command()
def examples(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[WHAT]", help="basic, exercises, advanced, practical, all, or the name of one."),
    ] = None,
    *,
    list_all: Annotated[bool, typer.Option("--list", help="Say what there is; so does no argument.")] = False,
    check: Annotated[Path | None, typer.Option(metavar="FILE", help="Check your solution of an exercise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object on each line.")] = False,
) -> None:
    """Run examples to learn from, and check solutions of the exercises."""
    try:
        raise typer.Exit(show_gallery(None if list_all else what, check, as_json=as_json))
    except ValueError as error:
        fail(str(error), code=2)


def main() -> None:
    """Run the command line."""
    app()
