"""Real pictures to work on: those that Python's packages and the system bring, or made from real data."""

from __future__ import annotations

import itertools
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

FOLDERS = (Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib")), Path("/usr/share"))
LOOKED_AT = 200
"""Pictures looked at at most; a whole /usr/share takes seconds."""


def find_pictures(count: int, spare: Path) -> list[Path]:
    """Return so many pictures that exist on this machine; the missing ones are made in `spare`, and it says so."""
    found = list(itertools.islice(_pictures(), count))
    missing = count - len(found)
    if missing:
        print(f"only {len(found)} real pictures here; {missing} are made from the source of the standard library")
        sources = sorted(FOLDERS[1].glob("*.py"), key=lambda path: -path.stat().st_size)[:missing]
        found += [_made_from(source, spare) for source in sources]
    return found


def _pictures() -> Iterator[Path]:
    files = (path for folder in FOLDERS for path in folder.rglob("*") if path.suffix in {".png", ".jpg", ".gif"})
    return (path for path in itertools.islice(files, LOOKED_AT) if _is_picture(path))


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
            return min(picture.size) >= 12
    except (OSError, ValueError, SyntaxError):
        return False


def _made_from(source: Path, folder: Path) -> Path:
    content = source.read_bytes()
    side = int((len(content) / 3) ** 0.5)
    made = folder / f"{source.stem}.png"
    Image.frombytes("RGB", (side, side), content[: side * side * 3]).save(made)
    return made
