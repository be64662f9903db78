"""Work on real files through HTTP, every result compared with the same work done here, one after the other."""

from __future__ import annotations

import hashlib
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.service.pictures import find_pictures

pytestmark = pytest.mark.slow
LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("asyncio", "collections", "concurrent/futures", "email", "http", "importlib", "json", "logging", "xml/dom")


@pytest.fixture(scope="module")
def files():
    found = sorted([*LIBRARY.glob("*.py"), *(file for name in PACKAGES for file in (LIBRARY / name).glob("*.py"))])
    assert len(found) >= 200
    return found


def run_all(service, type, payloads):
    """Submit from several threads, as clients do; return the results in order."""
    with ThreadPoolExecutor(8) as clients:
        ids = list(clients.map(lambda payload: service.submit(type, payload), payloads))
    jobs = [service.wait_for(id) for id in ids]
    assert {job["state"] for job in jobs} == {"completed"}, [job["error"] for job in jobs if job["error"]]
    return [job["result"] for job in jobs]


def counted(file):
    text = file.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return {"lines": text.count("\n"), "words": len(text.split()), "characters": len(text)}


def test_the_words_of_200_files_are_counted_right(service, files):
    results = run_all(service, "word_count", [{"path": str(file)} for file in files])

    assert results == [counted(file) for file in files]


def test_the_digests_of_200_files_are_right(service, files):
    results = run_all(service, "hash_file", [{"path": str(file), "algorithm": "blake2b"} for file in files])

    assert results == [hashlib.blake2b(file.read_bytes()).hexdigest() for file in files]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow, about some of these pictures
def test_the_thumbnails_of_24_pictures_are_the_same_pixel_by_pixel(service, tmp_path):
    pictures = find_pictures(24, spare=tmp_path)
    outputs = [tmp_path / "small" / f"{number}.png" for number in range(len(pictures))]

    results = run_all(
        service,
        "thumbnail",
        [
            {"path": str(path), "output": str(output), "size": 48}
            for path, output in zip(pictures, outputs, strict=True)
        ],
    )

    for path, output, result in zip(pictures, outputs, results, strict=True):
        with Image.open(path) as picture, Image.open(output) as made:
            expected = picture.convert("RGB")
            expected.thumbnail((48, 48))
            assert (result["width"], result["height"]) == made.size == expected.size, path
            assert max(made.size) <= 48
            assert made.convert("RGB").tobytes() == expected.tobytes(), path
