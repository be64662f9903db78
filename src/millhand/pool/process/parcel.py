"""What travels to a process and back: pickled, and when it is large, in memory that both map and nobody copies.

Large buffers (`pickle` protocol 5: NumPy arrays, for example) and large pickles are written once into a memory
without a name, whose file goes over the socket; who receives it maps it, privately, so that it may be written to.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

from millhand.core.errors import NotPicklable
from millhand.pool.process.shared import Shared, take_noticed
from millhand.pool.process.sheet import make_file

LARGE = 1 << 18
"""From how many bytes on something is large."""

_main = vars(sys.modules["__main__"])
TYPED_IN = not (_main.get("__spec__") or _main.get("__file__"))
"""Whether no other process can import what stands in `__main__`, as in a notebook."""

_ALIGNED = 64


class Parcel:
    """This is something pickled: `data`, and what of it is too large to be copied along.

    Args:
        data: the pickle.
        buffers: those that the pickle leaves out.
    """

    __slots__ = ("buffers", "data", "shares")

    def __init__(self, data: bytes, buffers: Sequence[pickle.PickleBuffer] = ()) -> None:
        self.data, self.buffers = data, buffers
        self.shares = take_noticed()
        """The shared values that it needs."""

    @property
    def is_large(self) -> bool:
        """Whether it is to travel by file."""
        return bool(self.buffers) or len(self.data) >= LARGE

    def to_file(self) -> int:
        """Return a file with all of it; whoever gets it closes it."""
        parts = [memoryview(self.data), *(buffer.raw() for buffer in self.buffers)]
        sizes = [part.nbytes for part in parts]
        head = struct.pack(f"<{len(sizes) + 1}Q", len(sizes), *sizes)
        offset = _align(len(head))
        file = make_file(offset + sum(map(_align, sizes)))
        try:
            os.pwrite(file, head, 0)
            for part in parts:
                _write(file, part, offset)
                offset += _align(part.nbytes)
        except BaseException:
            os.close(file)
            raise
        return file


def from_file(file: int) -> Any:
    """Return what the file of a parcel holds, and close it; its buffers stay mapped as long as they are used."""
    try:
        memory = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_COPY))
    finally:
        os.close(file)
    (n,) = struct.unpack_from("<Q", memory)
    sizes = struct.unpack_from(f"<{n}Q", memory, 8)
    parts, offset = [], _align(8 * (n + 1))
    for size in sizes:
        parts.append(memory[offset : offset + size])
        offset += _align(size)
    return pickle.loads(parts[0], buffers=parts[1:])


def pack(value: object, what: Callable[[], str], *, in_one_piece: bool = False) -> Parcel:
    """Pickle something; with cloudpickle, if that is installed, what pickle cannot do.

    Args:
        value: anything.
        what: returns what the error is to call it.
        in_one_piece: leave no buffers out.

    Raises:
        NotPicklable: it cannot be pickled.
    """
    if not TYPED_IN:
        with suppress(Exception):  # something large, or what pickle cannot do: both take the longer way
            return Parcel(pickle.dumps(value, 5, buffer_callback=expect_small))
    return Parcel(*dump(value, what, in_one_piece=in_one_piece))


def dump(
    value: object, what: Callable[[], str], *, in_one_piece: bool = False
) -> tuple[bytes, Sequence[pickle.PickleBuffer]]:
    """Pickle what may have large buffers, or may need cloudpickle; as `pack`."""
    buffers: list[pickle.PickleBuffer] = []
    collect = None if in_one_piece else partial(collect_large, buffers)
    cloudpickle = find_cloudpickle()
    refusal: BaseException = LookupError("it needs what was typed in, or given with -c, and stands in no file")
    for tool in (pickle,) if cloudpickle is None else (pickle, cloudpickle):
        buffers.clear()
        try:
            data: bytes = tool.dumps(value, 5, buffer_callback=collect)
        except Exception as error:  # noqa: BLE001 - what pickling calls is the user's
            refusal = error
        else:
            if not (TYPED_IN and tool is pickle and b"__main__" in data):
                return data, buffers
    raise NotPicklable(what(), f"{type(refusal).__name__}: {refusal}", cloudpickle is not None) from refusal


def share(value: object) -> Shared:
    """Return what stands for a value that is to be sent to each process once. Raises NotPicklable."""
    parcel = pack(value, lambda: f"the value to be shared, a {type(value).__qualname__},")
    return Shared(value, parcel.to_file())


def expect_small(buffer: pickle.PickleBuffer) -> bool:
    """Have pickle copy a buffer. Raises BufferError if it is large."""
    if buffer.raw().nbytes >= LARGE:
        raise BufferError
    return True


@cache
def find_cloudpickle() -> Any:
    """Return the module cloudpickle; None if it is not installed."""
    try:
        import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - it ships no types; optional, seldom needed
    except ImportError:
        return None
    return cloudpickle


def collect_large(buffers: list[pickle.PickleBuffer], buffer: pickle.PickleBuffer) -> bool:
    """Have pickle copy a buffer, unless it is large: then keep it in a list."""
    if buffer.raw().nbytes < LARGE:
        return True
    buffers.append(buffer)
    return False


def _align(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _write(file: int, part: memoryview, offset: int) -> None:
    while part.nbytes:
        written = os.pwrite(file, part, offset)
        part, offset = part[written:], offset + written
