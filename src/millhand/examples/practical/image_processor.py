"""A folder of pictures becomes a folder of thumbnails and a contact sheet, with a progress bar (on stderr).

Pure Python computes in processes; with Pillow, which lets other threads run meanwhile, threads would do.

Prints:

    drawn: 12 pictures of 160 × 120
    shrunk: 12 thumbnails of 40 × 30
    contact sheet: 160 × 90, 4 in a row
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from millhand import ProcessPool
from millhand.examples.png import Picture, read_png, shrink_picture, write_png

WIDTH, HEIGHT, IN_A_ROW = 160, 120, 4


def draw(path: Path, number: int) -> None:
    """Paint waves, in colours of their own for each number."""
    pixels = [[(x * y // (number + 9), x * number, y * number) for x in range(WIDTH)] for y in range(HEIGHT)]
    write_png(path, [bytes(colour & 255 for pixel in row for colour in pixel) for row in pixels])


def shrink(path: Path) -> Picture:
    """Write a thumbnail, and return it."""
    small = shrink_picture(read_png(path), by=4)
    write_png(path.parent / "thumbnails" / path.name, small)
    return small


def process(folder: Path) -> None:
    """Draw the pictures, shrink them, and join the thumbnails to one sheet."""
    (folder / "thumbnails").mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02}.png" for number in range(12)]
    with ProcessPool(2) as pool:
        list(pool.map(draw, paths, range(12)))
        print(f"drawn: 12 pictures of {WIDTH} × {HEIGHT}")
        small = list(pool.map(shrink, paths, progress=any(map(find_spec, ("rich", "tqdm")))))
    print(f"shrunk: {len(small)} thumbnails of {len(small[0][0]) // 3} × {len(small[0])}")
    strips = [small[start : start + IN_A_ROW] for start in range(0, len(small), IN_A_ROW)]
    sheet = [b"".join(rows) for strip in strips for rows in zip(*strip, strict=True)]
    write_png(folder / "sheet.png", sheet)
    print(f"contact sheet: {len(sheet[0]) // 3} × {len(sheet)}, {IN_A_ROW} in a row")


def main() -> None:
    """Do all that in a temporary folder."""
    with TemporaryDirectory() as folder:
        process(Path(folder))


if __name__ == "__main__":
    process(Path(sys.argv[1])) if sys.argv[1:] else main()  # in a folder of one's own, they stay to be looked at
