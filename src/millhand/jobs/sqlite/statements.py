"""The SQL, one statement per file: `SQL["claim"]` is the text of `sql/claim.sql`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources

_FOLDER = resources.files("millhand.jobs.sqlite") / "sql"

SQL: Mapping[str, str] = {
    file.name.removesuffix(".sql"): file.read_text()
    for file in _FOLDER.iterdir()
    if file.name.endswith(".sql") and not file.name[0].isdigit()
}


def migrations() -> Iterator[tuple[int, str]]:
    """Yield every step of the schema as (number, script), in order."""
    for file in sorted(_FOLDER.iterdir(), key=lambda file: file.name):
        if file.name[0].isdigit():
            yield int(file.name.split("-")[0]), file.read_text()
