"""Children for a supervisor: tiny programs that speak the line's language, so that a whole life takes milliseconds."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millhand.jobs import Store, open_store
from millhand.supervisor import ChildSpec, Supervisor, SupervisorSettings

PRELUDE = """
import json, os, signal, socket, sqlite3, sys

NAME, FOLDER, FILE = sys.argv[1:4]
line = socket.socket(fileno=int(FILE))
lines = line.makefile()


def say(kind, **data):
    line.sendall(json.dumps([kind, data]).encode() + b"\\n")


def hear():
    return json.loads(lines.readline() or os._exit(70))


def note(text):
    with open(f"{FOLDER}/notes", "a") as notes:
        notes.write(f"{NAME} {text}\\n")


def first_life():
    try:
        os.close(os.open(f"{FOLDER}/{NAME}-lived", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def begin():
    say("loaded", url=f"sqlite:///{FOLDER}/work.db")
    kind, orders = hear()
    note(kind)
    return orders


def signal_supervisor(number=signal.SIGTERM):
    os.kill(os.getppid(), number)


note("starts")
"""
OBEDIENT = """
orders = begin()
say("ready", pid=os.getpid(), **orders)
kind, data = hear()
note(kind)
note("ends")
"""
TELLS_TO_STOP = OBEDIENT.replace("kind, data = hear()", "signal_supervisor(); kind, data = hear()")


class Family:
    """A supervisor with fake children in a folder, and what came of it.

    Args:
        folder: where the children note what happens to them, and the database is.
        settings: short ones, unless a test says otherwise.
        children: a program for each child by name, in the order in which they are to be stopped; `runner` runs jobs.
    """

    def __init__(self, folder: Path, settings: SupervisorSettings | None = None, **children: str) -> None:
        self.folder = folder
        self._settings = settings or SupervisorSettings(grace=5.0, http_grace=5.0, report_every=None)
        self._specs = [self._spec(name, program) for name, program in children.items()]

    def run(self) -> int:
        """Run until told to stop, as `millhand serve` does; return the exit code."""
        return Supervisor(self._specs, self.open_store, self.on_ready, self._settings).run()

    def open_store(self, url: str) -> Store:
        return open_store(url)

    def on_ready(self, said: Mapping[str, Any]) -> None:
        """Do nothing; a test puts something else here."""

    @property
    def notes(self) -> list[str]:
        """What the children noted, in order: `http starts`, `http begin`, ..."""
        return (self.folder / "notes").read_text().splitlines()

    def notes_of(self, name: str) -> list[str]:
        return [note.partition(" ")[2] for note in self.notes if note.startswith(f"{name} ")]

    def _spec(self, name: str, program: str) -> ChildSpec:
        command = [sys.executable, "-I", "-S", "-c", PRELUDE + program, name, str(self.folder)]
        return ChildSpec(name, command, {"said_to": name}, runs_jobs=name == "runner")
