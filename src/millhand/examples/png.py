"""Pictures as PNG files, with nothing but zlib: as much of the format as the image processor needs.

Format: Portable Network Graphics, third edition (W3C, 2025): chunks in section 5, filter type 0 in section 9.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TypeAlias

Picture: TypeAlias = list[bytes]
"""Its rows, from top to bottom; three bytes for each pixel: red, green, blue."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB = bytes([8, 2, 0, 0, 0])  # eight bits, true colour; the only compression and filter method there is; not interlaced
HEAD = len(SIGNATURE) + 8


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture."""
    header = struct.pack(">II", len(picture[0]) // 3, len(picture)) + RGB
    pixels = zlib.compress(b"".join(b"\0" + row for row in picture))
    path.write_bytes(SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b""))


def read_png(path: Path) -> Picture:
    """Read a picture that `write_png` has written.

    Raises:
        ValueError: the file is anything else; a library such as Pillow reads all there is.
    """
    data = path.read_bytes()
    if (
        data[: len(SIGNATURE)] != SIGNATURE
        or data[HEAD + 8 : HEAD + 13] != RGB
        or data[HEAD + 21 : HEAD + 25] != b"IDAT"
    ):
        raise ValueError(f"{path.name} was not written by write_png; read it with Pillow")
    width, height, size = struct.unpack_from(">II9xI", data, HEAD)
    line = 3 * width + 1  # the first byte of each is its filter
    pixels = zlib.decompress(data[HEAD + 25 : HEAD + 25 + size])
    return [pixels[line * row + 1 : line * (row + 1)] for row in range(height)]


def shrink_picture(picture: Picture, by: int) -> Picture:
    """Return a smaller picture, in which each pixel is the mean of a square."""
    small = []
    for top in range(0, len(picture), by):
        sums = [sum(column) for column in zip(*picture[top : top + by], strict=True)]
        starts = [x + colour for x in range(0, len(sums), 3 * by) for colour in range(3)]
        small.append(bytes(sum(sums[start : start + 3 * by : 3]) // by**2 for start in starts))
    return small


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
