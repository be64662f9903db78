"""Every setting: its flag, its names in the environment, its default, what it means.

A flag beats the environment, the environment beats `millhand.toml` in the working directory, and that beats
the default. A name with the prefix `MILLHAND_` beats the same name without it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from millhand.codec import parse_duration
from millhand.core.clock import Seconds
from millhand.jobs import path_of
from millhand.supervisor import PULSE_EVERY

PREFIX = "MILLHAND_"
FILE = "millhand.toml"


class SettingError(ValueError):
    """This says which setting has a value that cannot be used, where it came from, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a service was told, checked."""

    worker_count: int
    queue_size: int
    job_timeout: Seconds
    http_host: str
    http_port: int
    http_timeout: Seconds
    metrics_enabled: bool
    metrics_interval: Seconds
    database_url: str | None
    grace: Seconds
    drain_delay: Seconds
    stall_limit: Seconds

    def to_orders(self) -> dict[str, Any]:
        """Return the settings as plain data, for a child process."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `default` is text, as a person would write it; `also` are further names in the environment."""

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    also: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The name of the flag, such as `--worker-count`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variables(self) -> tuple[str, ...]:
        """The names in the environment; the first that is set counts."""
        names = (self.name.upper(), *self.also)
        return tuple(PREFIX + name for name in names) + names


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    wanted = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"must be {wanted}") from None
        if number < least or (most is not None and number > most):
            raise ValueError(f"must be {wanted}")
        return number

    return read


def _duration(*, zero: bool = True) -> Callable[[str], Seconds]:
    def read(text: str) -> Seconds:
        try:
            seconds = parse_duration(text)
        except ValueError:
            raise ValueError('must be a duration such as 30, "30s" or "5m"') from None
        if seconds == 0 and not zero:
            raise ValueError("must be more than 0 seconds")
        return seconds

    return read


def _switch(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    try:
        return words[text.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _at_least(least: Seconds) -> Callable[[str], Seconds]:
    def read(text: str) -> Seconds:
        seconds = _duration()(text)
        if seconds < least:
            raise ValueError(f"must be at least {least:g} seconds")
        return seconds

    return read


def _url(text: str) -> str | None:
    if text:
        path_of(text)
    return text or None


def _host(text: str) -> str:
    if not text.strip():
        raise ValueError("must be an address such as 127.0.0.1")
    return text.strip()


SETTINGS: tuple[Setting, ...] = (
    Setting("worker_count", "10", _whole(1, 10_000), "How many jobs run at once."),
    Setting(
        "queue_size",
        "100000",
        _whole(1),
        "How many jobs may wait before submits over HTTP are refused.",
        also=("JOB_QUEUE_CAPACITY",),
    ),
    Setting(
        "job_timeout", "30s", _duration(zero=False), "How long an attempt may take, unless its job says otherwise."
    ),
    Setting("http_host", "127.0.0.1", _host, "The address to listen on."),
    Setting("http_port", "8080", _whole(0, 65535), "The port to listen on; 0 takes any free one.", also=("PORT",)),
    Setting("http_timeout", "10s", _duration(zero=False), "How long a request may take, apart from its ?wait."),
    Setting("metrics_enabled", "true", _switch, "Whether /metrics answers and summary lines are logged."),
    Setting("metrics_interval", "10s", _duration(zero=False), "How often a summary line is logged."),
    Setting("database_url", "", _url, "Where jobs are kept; empty: where the program says (sqlite:///millhand.db)."),
    Setting("grace", "30s", _duration(), "How long running jobs may go on after a signal to stop."),
    Setting("drain_delay", "0s", _duration(), "How long /readyz says no before the service stops accepting."),
    Setting("stall_limit", "5m", _at_least(2 * PULSE_EVERY), "How long a runner may be silent before it is killed."),
)


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str], folder: Path) -> Settings:
    """Put together what was said where.

    Args:
        flags: the text given for each setting on the command line, None where there was none.
        environment: the environment's variables.
        folder: where `millhand.toml` is looked for.

    Raises:
        SettingError: at the first value that cannot be used.
    """
    file = _read_file(folder / FILE)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text, source = _find(setting, flags, environment, file)
        try:
            values[setting.name] = setting.read(text)
        except ValueError as error:
            raise SettingError(f"{source}={text!r} {error}") from None
    return Settings(**values)


def _find(
    setting: Setting, flags: Mapping[str, str | None], environment: Mapping[str, str], file: Mapping[str, Any]
) -> tuple[str, str]:
    flag = flags.get(setting.name)
    if flag is not None:
        return flag, setting.flag
    for variable in setting.variables:
        if variable in environment:
            return environment[variable], variable
    if setting.name in file:
        return _as_text(file[setting.name]), f"{FILE}: {setting.name}"
    return setting.default, setting.name


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path.name} is not TOML: {error}") from None
    except OSError as error:
        raise SettingError(f"{path.name} cannot be read: {error.strerror}") from None
    unknown = content.keys() - {setting.name for setting in SETTINGS}
    if unknown:
        known = ", ".join(setting.name for setting in SETTINGS)
        raise SettingError(f"{path.name} has no setting {sorted(unknown)[0]!r}; there are: {known}")
    return content
