"""Which database a URL names."""

from __future__ import annotations

from pathlib import Path

import pytest

from millhand.jobs.url import path_of


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://", None),
        ("sqlite:///work.db", Path("work.db")),
        ("sqlite:///data/work.db", Path("data/work.db")),
        ("sqlite:////var/lib/work.db", Path("/var/lib/work.db")),
        ("sqlite:///with space.db", Path("with space.db")),
    ],
)
def test_a_url_names_a_file_or_a_temporary_one(url: str, path: Path | None) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "work.db",
        "sqlite:work.db",
        "sqlite:/work.db",
        "sqlite://work.db",
        "sqlite:///",
        "SQLITE:///work.db",
        "postgresql://db/work",
        "://",
        "sqlite:///:memory:",
    ],
)
def test_any_other_url_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite://"):
        path_of(url)
