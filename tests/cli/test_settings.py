"""Where settings come from, which source wins, and what is said about a value that cannot be used."""

from __future__ import annotations

import itertools

import pytest
import typer.testing

from millhand.cli.main import app
from millhand.cli.settings import PREFIX, SETTINGS, SettingError, read_settings

BY_NAME = {setting.name: setting for setting in SETTINGS}

GOOD = {
    "worker_count": {"1": 1, "2": 2, "3": 3, "4": 4, "10000": 10_000},
    "queue_size": {"1": 1, "2": 2, "3": 3, "4": 4, "1000000": 1_000_000},
    "job_timeout": {"1": 1.0, "2.5": 2.5, "3s": 3.0, "4m": 240.0, "1h30m": 5400.0},
    "http_host": {"127.0.0.1": "127.0.0.1", "::1": "::1", "localhost": "localhost", " 127.0.0.2 ": "127.0.0.2"},
    "http_port": {"0": 0, "1": 1, "80": 80, "8081": 8081, "65535": 65535},
    "http_timeout": {"1": 1.0, "250ms": 0.25, "3s": 3.0, "4m": 240.0, "5": 5.0},
    "metrics_enabled": {"true": True, "off": False, "YES": True, "0": False, "False": False},
    "metrics_interval": {"1": 1.0, "2s": 2.0, "3s": 3.0, "4m": 240.0, "0.5": 0.5},
    "database_url": {"sqlite:///a.db": "sqlite:///a.db", "sqlite://": "sqlite://", "": None},
    "grace": {"0": 0.0, "1": 1.0, "2s": 2.0, "3m": 180.0, "4h": 14400.0},
    "drain_delay": {"0": 0.0, "1": 1.0, "2s": 2.0, "3m": 180.0, "4h": 14400.0},
    "stall_limit": {"15": 15.0, "30s": 30.0, "5m": 300.0, "1h": 3600.0},
}
BAD = {
    "worker_count": ["0", "-1", "ten", "1.5", "", "10001"],
    "queue_size": ["0", "-1", "many", "1e5", ""],
    "job_timeout": ["0", "-1", "soon", "", "inf", "nan", "5x"],
    "http_host": ["", "   "],
    "http_port": ["-1", "65536", "http", "", "80.0"],
    "http_timeout": ["0", "-1", "soon", "", "0s"],
    "metrics_enabled": ["maybe", "", "2", "truee"],
    "metrics_interval": ["0", "-1", "soon", ""],
    "database_url": ["nonsense", "mysql://db/work", "sqlite:/a.db", "sqlite:///"],
    "grace": ["-1", "soon", ""],
    "drain_delay": ["-1", "soon", ""],
    "stall_limit": ["0", "-1", "soon", "", "1s"],  # 1s: shorter than the pulse, so every runner would be killed
}
WANTED = {
    "worker_count": "a whole number",
    "queue_size": "a whole number",
    "http_host": "an address",
    "http_port": "a whole number from 0 to 65535",
    "metrics_enabled": "true or false",
    "database_url": "sqlite:///",
}
EACH_BAD = [(name, text) for name, texts in BAD.items() for text in texts]
runner = typer.testing.CliRunner()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Be in an empty folder, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        for variable in setting.variables:
            monkeypatch.delenv(variable, raising=False)
    # What is not refused would start processes, and serve until the test's time is up.
    monkeypatch.setattr("millhand.cli.main.run_service", lambda *arguments, **options: 0)
    return tmp_path


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(name, *, flag=None, environment=None, folder):
    return getattr(read_settings({name: flag}, environment or {}, folder), name)


def test_every_setting_is_tried_here():
    assert GOOD.keys() == BAD.keys() == BY_NAME.keys()


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_a_good_value_means_the_same_from_everywhere(name, text, tmp_path):
    expected = GOOD[name][text]
    variable = name.upper()

    assert read(name, flag=text, folder=tmp_path) == expected
    assert read(name, environment={variable: text}, folder=tmp_path) == expected
    assert read(name, environment={PREFIX + variable: text}, folder=tmp_path) == expected
    (tmp_path / "millhand.toml").write_text(f"{name} = {quoted(text)}\n")
    assert read(name, folder=tmp_path) == expected


@pytest.mark.parametrize("name", BY_NAME)
def test_a_flag_beats_the_prefixed_name_beats_the_plain_one_beats_the_file_beats_the_default(name, tmp_path):
    setting = BY_NAME[name]
    texts = itertools.cycle(text for text, value in GOOD[name].items() if value != setting.read(setting.default))
    by_flag, by_prefix, by_name, by_file = itertools.islice(texts, 4)
    both = {PREFIX + name.upper(): by_prefix, name.upper(): by_name}
    (tmp_path / "millhand.toml").write_text(f"{name} = {quoted(by_file)}\n")

    assert read(name, flag=by_flag, environment=both, folder=tmp_path) == GOOD[name][by_flag]
    assert read(name, environment=both, folder=tmp_path) == GOOD[name][by_prefix]
    assert read(name, environment={name.upper(): by_name}, folder=tmp_path) == GOOD[name][by_name]
    assert read(name, folder=tmp_path) == GOOD[name][by_file]
    assert read(name, folder=tmp_path / "elsewhere") == setting.read(setting.default)


@pytest.mark.parametrize(("name", "other"), [(setting.name, other) for setting in SETTINGS for other in setting.also])
def test_the_second_name_of_a_setting_counts_after_its_first(name, other, tmp_path):
    assert read(name, environment={other: "7"}, folder=tmp_path) == 7
    assert read(name, environment={other: "7", name.upper(): "8"}, folder=tmp_path) == 8
    assert read(name, environment={PREFIX + other: "9", name.upper(): "8"}, folder=tmp_path) == 9
    with pytest.raises(SettingError, match=f"^{other}="):
        read(name, environment={other: "x"}, folder=tmp_path)


def refused(folder, *arguments, environment=None):
    """Return the one line that `millhand serve` says before it ends with exit code 2, nothing having been started."""
    result = runner.invoke(app, ["serve", *arguments], env=environment)
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    assert [path.name for path in folder.iterdir()] in ([], ["millhand.toml"])
    return line


def refusal(folder, environment):
    with pytest.raises(SettingError) as caught:
        read_settings({}, environment, folder)
    return str(caught.value)


@pytest.mark.parametrize(("name", "text"), EACH_BAD)
def test_a_bad_value_is_refused_with_its_source_and_what_would_be_right(name, text, folder):
    setting, wanted = BY_NAME[name], WANTED.get(name, "must be")

    by_flag = refused(folder, f"{setting.flag}={text}").removeprefix("millhand: ")
    by_name = refusal(folder, {name.upper(): text})
    by_prefix = refusal(folder, {PREFIX + name.upper(): text, name.upper(): setting.default})
    (folder / "millhand.toml").write_text(f"{name} = {quoted(text)}\n")
    by_file = refusal(folder, {})

    assert by_flag.startswith(f"{setting.flag}={text!r} ")
    assert by_name.startswith(f"{name.upper()}={text!r} ")
    assert by_prefix.startswith(f"{PREFIX}{name.upper()}={text!r} ")
    assert by_file.startswith(f"millhand.toml: {name}={text!r} ")
    assert all(wanted in said for said in (by_flag, by_name, by_prefix, by_file))


def test_a_bad_value_in_the_environment_is_refused_by_the_command_too(folder):
    line = refused(folder, environment={"WORKER_COUNT": "ten"})

    assert line == "millhand: WORKER_COUNT='ten' must be a whole number from 1 to 10000"


def test_the_file_may_hold_numbers_and_truths_as_such(tmp_path):
    (tmp_path / "millhand.toml").write_text("worker_count = 3\nmetrics_enabled = false\ngrace = 1.5\n")

    settings = read_settings({}, {}, tmp_path)

    assert (settings.worker_count, settings.metrics_enabled, settings.grace) == (3, False, 1.5)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"worker_count = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"workers = 3", "has no setting 'workers'; there are: worker_count, queue_size"),
        (b"worker_count = [1]", "must be a whole number"),
        (b"[worker_count]\nx = 1", "must be a whole number"),
        (b"worker_count = true", "must be a whole number"),
        (b"worker_count = 10.0", "must be a whole number"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(folder, content, why):
    (folder / "millhand.toml").write_bytes(content)

    line = refused(folder)

    assert line.startswith("millhand: millhand.toml")
    assert why in line


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """It was an OSError with a traceback. A folder stands for all that cannot be read: root may read every file."""
    (tmp_path / "millhand.toml").mkdir()

    with pytest.raises(SettingError, match=r"millhand\.toml"):
        read_settings({}, {}, tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_an_address_beyond_this_machine_is_refused_unless_meant(folder, host):
    line = refused(folder, "--http-host", host)

    assert f"http_host={host}" in line
    assert "--insecure" in line


def test_settings_reach_a_child_whole(tmp_path):
    settings = read_settings({"worker_count": "3"}, {}, tmp_path)

    assert type(settings)(**settings.to_orders()) == settings
