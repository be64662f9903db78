"""Which database a URL names."""

from __future__ import annotations

from pathlib import Path


def path_of(url: str) -> Path | None:
    """Return the file that a `sqlite:` URL names, None for `sqlite://` (a private temporary one).

    Raises:
        ValueError: for any other URL, with what would be right.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "sqlite" or not separator:
        raise ValueError(f"a database URL looks like sqlite:///work.db (or sqlite:// for a temporary one), got {url!r}")
    if not rest:
        return None
    if not rest.startswith("/") or rest in {"/", "/:memory:"}:
        raise ValueError(f"a file takes three slashes (sqlite:///work.db), an absolute one four, got {url!r}")
    return Path(rest[1:])
