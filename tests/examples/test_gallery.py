"""Each example of the gallery prints what its docstring shows, and leaves nothing behind."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path

import pytest
from PIL import Image, ImageChops

import millhand.examples
from millhand.examples.gallery import GALLERY, SECTIONS, Example, choose, run
from millhand.examples.png import read_png
from millhand.examples.practical import image_processor
from tests.architecture.test_pool_page import rows
from tests.process.patience import until_gone

FOLDER = Path(millhand.examples.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "examples.md"
SLOW = {
    "basic/performance",
    "advanced/adaptive",
    "advanced/processes",
    "practical/basic_numbers",
    "practical/url_fetcher",
    "practical/image_processor",
    "practical/partial_results",
}
SHOWN = [
    pytest.param(example, id=example.name, marks=[pytest.mark.slow] if example.name in SLOW else [])
    for example in GALLERY
    if example.section != "exercises"
]


def promised(example):
    """Return the lines that follow "Prints:" in a module's docstring."""
    return textwrap.dedent(example.docstring.partition("Prints:\n\n")[2]).splitlines()


def keeps(promise, line):
    """Whether a line is as promised: "..." stands for what differs from run to run, and one space for many."""
    parts = [" +".join(map(re.escape, part.split(" "))) for part in re.sub(" +", " ", promise).split("...")]
    return re.fullmatch(".*".join(parts), line) is not None


@pytest.mark.parametrize("example", SHOWN)
def test_an_example_prints_what_its_docstring_shows(example, capsys):
    promise = promised(example)

    importlib.import_module(example.module).main()

    printed = capsys.readouterr().out.splitlines()
    assert [said if keeps(said, line) else line for said, line in zip(promise, printed, strict=False)] == promise
    assert len(printed) == len(promise) > 0


@pytest.mark.parametrize("section", SECTIONS)
def test_every_file_of_a_section_is_in_the_gallery_and_no_other(section):
    files = {path.stem for path in (FOLDER / section).glob("*.py")} - {"__init__"}

    assert files == set(SECTIONS[section])


@pytest.mark.parametrize("example", GALLERY, ids=lambda example: example.name)
def test_an_example_can_be_read_at_one_sitting(example):
    text = example.path.read_text()

    assert len(text.splitlines()) <= 60
    assert text.endswith('if __name__ == "__main__":\n    main()\n') or example.title == "image_processor"


def test_the_page_names_every_example_with_its_first_line_and_no_other():
    listed = [(name.strip("`"), summary) for name, summary in rows(PAGE.read_text())]

    assert listed == [(example.name, example.summary) for example in GALLERY]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("all", [example.name for example in GALLERY]),
        ("advanced", [f"advanced/{title}" for title in SECTIONS["advanced"]]),
        ("basic", [f"basic/{title}" for title in SECTIONS["basic"]]),
        ("basic/basic", ["basic/basic"]),
        ("group", ["advanced/group"]),
        ("buffered", ["basic/buffered"]),
        ("exercises/buffered", ["exercises/buffered"]),
    ],
)
def test_a_section_comes_before_an_example_and_the_first_of_two_before_the_second(what, names):
    assert [example.name for example in choose(what)] == names


def test_an_unknown_name_is_refused_with_what_is_close_to_it():
    with pytest.raises(ValueError, match="no example 'perfomance'; did you mean performance"):
        choose("perfomance")


class Elsewhere(Example):
    """An example that stands in no section."""

    module = "example_of_this_test"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an example that can be run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")

    def write(text):
        (tmp_path / f"{Elsewhere.module}.py").write_text(text)
        return Elsewhere("here", "mine")

    return write


def test_what_an_example_prints_is_kept(write):
    end = run(write("print('one')\nprint('two')"), keep=True)

    assert (end.name, end.ok, end.lines, end.error) == ("here/mine", True, ["one", "two"], "")


def test_an_example_that_raises_has_failed_and_its_traceback_is_kept(write):
    end = run(write("print('one')\n1 / 0"), keep=True)

    assert (end.ok, end.lines) == (False, ["one"])
    assert end.error.endswith("ZeroDivisionError: division by zero\n")


def test_files_of_the_readers_folder_are_not_taken_for_modules(tmp_path, monkeypatch):
    (tmp_path / "threading.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)

    assert run(Example("basic", "priority"), keep=True).ok


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "keep"), [("subprocess.run", True), ("subprocess.run", False), ("subprocess.Popen", True)]
)
def test_an_example_that_does_not_end_is_killed_with_all_that_it_has_started(write, call, keep):
    """Its child holds its stdout open, so that whoever reads that would wait for the child, too."""
    end = run(write(f"import subprocess\n{call}(['sleep', '60'])"), keep=keep, time_limit=0.3)

    assert (end.ok, end.error) == (False, "still running after 0.3 s, so it was killed\n")
    assert end.seconds < 15


def test_what_an_example_leaves_behind_is_killed(write):
    leave = "subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"

    end = run(write(f"import subprocess\nprint({leave}.pid)"), keep=True)

    assert end.ok
    until_gone(int(end.lines[0]))


@pytest.mark.slow
def test_the_pictures_are_real_and_the_thumbnails_are_what_pillow_would_make_of_them(tmp_path, capsys):
    image_processor.process(tmp_path)

    for path in sorted(tmp_path.glob("??.png")):
        with Image.open(path) as picture, Image.open(tmp_path / "thumbnails" / path.name) as small:
            assert (picture.size, small.size) == ((160, 120), (40, 30))
            difference = ImageChops.difference(picture.reduce(4), small)
            assert max(high for _, high in difference.getextrema()) <= 1  # Pillow rounds, we cut off
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "thumbnails" / "05.png") as sixth:
        assert ImageChops.difference(sheet.crop((40, 30, 80, 60)), sixth).getbbox() is None


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_a_picture_of_another_hand_is_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "other.png")

    with pytest.raises(ValueError, match=r"other\.png was not written by write_png"):
        read_png(tmp_path / "other.png")
