"""Which source sets a setting, and the errors where none can."""

import os
import re
from datetime import date
from pathlib import Path

import pytest

from forecaster.bptt.plan import Plan
from forecaster.errors import SettingsError, UsageError
from forecaster.settings import Settings, resolve_home
from forecaster.settings.settings_sources import load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """Ignore settings of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith("FORECASTER_"):
            monkeypatch.delenv(name)


def loaded(home, toml=None, **given):
    """The training settings of a home with this file, under these options."""
    if toml is not None:
        (home / "forecaster.toml").write_text(toml)
    return load_settings(home, {"train": given}).train


def refused(home, error, match, toml=None, **given):
    with pytest.raises(error, match=match) as caught:
        loaded(home, toml, **given)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path, monkeypatch
):
    """One source after another is added, each above the one before."""
    assert loaded(tmp_path).lr == 2e-3
    assert loaded(tmp_path, "[train]\nlr = 0.2\n").lr == 0.2
    monkeypatch.setenv("FORECASTER_TRAIN__LR", "0.3")
    assert loaded(tmp_path).lr == 0.3
    assert loaded(tmp_path, lr=0.4).lr == 0.4
    assert loaded(tmp_path, lr=None).lr == 0.3, "an option that was not given sets nothing"


def test_sources_are_merged_value_by_value(tmp_path, monkeypatch):
    """An option replaces its own value only, not the section."""
    monkeypatch.setenv("FORECASTER_TRAIN__HIDDEN", "16")
    found = loaded(tmp_path, "[train]\nlr = 0.2\nhidden = 8\n[predict]\nmax_stale = 9\n", layers=2)
    assert (found.lr, found.hidden, found.layers, found.dropout) == (0.2, 16, 2, 0.2)
    assert load_settings(tmp_path).predict.max_stale == 9


def test_every_kind_of_value_is_read_from_every_source(tmp_path, monkeypatch):
    """Names with commas, dates, numbers or 'all': file, environment and command line alike."""
    text = 'target = "return, range"\ntrain_until = 2015-06-01\nlookback = 60\n'
    in_file = loaded(tmp_path, f"[train]\n{text}")
    as_list = text.replace('"return, range"', '["return", "range"]')
    assert loaded(tmp_path, f"[train]\n{as_list}") == in_file
    (tmp_path / "forecaster.toml").unlink()
    given = {"target": "return,range", "train_until": "2015-06-01", "lookback": "60"}
    on_line = loaded(tmp_path, **given)
    for name, value in given.items():
        monkeypatch.setenv(f"FORECASTER_TRAIN__{name.upper()}", value)
    assert in_file == on_line == loaded(tmp_path)
    assert on_line.target == ("return", "range")
    assert on_line.train_until == date(2015, 6, 1)
    assert on_line.lookback == 60
    assert loaded(tmp_path, lookback="all").lookback == "all"


def test_a_home_without_a_file_has_the_defaults(tmp_path):
    """Nothing is created either."""
    assert load_settings(tmp_path).model_dump() == Settings().model_dump()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_another_home_is_not_read(tmp_path, monkeypatch):
    """Not that of the working directory, either."""
    (tmp_path / "forecaster.toml").write_text("[train]\nlr = 0.2\n")
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    assert loaded(other).lr == 2e-3
    assert loaded(tmp_path).lr == 0.2


@pytest.mark.parametrize("given", [{}, {"lr": 0.1}])
@pytest.mark.parametrize(
    ("toml", "match"),
    [
        ("[train]\nhiden = 1\n", "train.hiden = 1: no such setting; did you mean hidden"),
        ("[train]\nzzz = 1\n", "train.zzz = 1: no such setting; docs/commands.md lists them"),
        ("[trian]\nlr = 1\n", r"no such section \[trian\]; did you mean train"),
        ("[fetch]\nlr = 3\n", "fetch.lr = 3: no such setting"),
        ("[train]\nhidden = 0\n", "train.hidden = 0 of forecaster.toml: .* greater than or equal"),
        ("[train]\nmodel = 'transformer'\n", "train.model = 'transformer' of .*'lstm' or 'mlp'"),
        ("fetch = 3\n", r"fetch = 3; a section is needed. Write \[fetch\]"),
        ("train = 3\n", r"train = 3; a section is needed. Write \[train\]"),
        ("hidden = 3\n", r"no such section \[hidden\]"),
        ("[train]\nbptt = 'full'\nbptt_k2 = 3\n", "^train: --bptt-k2 applies only"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path, toml, match, given):
    """Unknown section, unknown key, bad value: exit code 78, whatever options are given beside."""
    assert refused(tmp_path, SettingsError, match, toml, **given).exit_code == 78


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("FORECASTER_TRAIN__LR", "fast", "train.lr = 'fast' of FORECASTER_TRAIN__LR: "),
        ("FORECASTER_TRAIN__HIDEN", "1", "HIDEN=1: .* did you mean FORECASTER_TRAIN__HIDDEN"),
        ("FORECASTER_TRAIN_LR", "1", "did you mean FORECASTER_TRAIN__LR"),
        ("FORECASTER_TRAIN__EPOCHS", "9", "EPOCHS=9: no such setting; docs/commands.md lists"),
        ("FORECASTER_HOEM", "here", "did you mean FORECASTER_HOME"),
        ("FORECASTER_TRAIN", "{}", "FORECASTER_TRAIN={}: no such setting"),
    ],
)
def test_a_wrong_variable_is_refused_by_key(tmp_path, monkeypatch, name, value, match):
    """The environment is no command line: exit code 78."""
    monkeypatch.setenv(name, value)
    assert refused(tmp_path, SettingsError, match).exit_code == 78


def test_other_variables_of_the_prefix_are_no_settings(tmp_path, monkeypatch):
    """FORECASTER_HOME is read elsewhere."""
    monkeypatch.setenv("FORECASTER_HOME", str(tmp_path))
    assert loaded(tmp_path) == Settings().train


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"lr": 0.0}, "^--lr 0.0: .* greater than 0"),
        ({"lr": float("nan")}, "^--lr nan: "),
        ({"dropout": 1.0}, "^--dropout 1.0: .* less than 1"),
        ({"max_steps": 0}, "^--max-steps 0: "),
        ({"model": "transformer"}, "^--model transformer: .*'elman', 'gru', 'lstm' or 'mlp'"),
        ({"target": "price"}, "^--target price: .*'return', 'range' or 'volume'"),
        ({"target": "return,return"}, "^--target return,return: list each target once"),
        ({"target": ""}, "^--target : "),
        ({"lookback": "0"}, "^--lookback 0: a window needs at least 1 day"),
        ({"lookback": "sixty"}, "^--lookback sixty: "),
        ({"train_until": "2015-02-30"}, "^--train-until 2015-02-30: "),
        ({"seed": -1}, "^--seed -1: "),
        ({"batch": 10**20}, "^--batch 100000000000000000000: a number below 4,294,967,296 is"),
    ],
)
@pytest.mark.parametrize("toml", [None, "[train]\nlr = 0.2\nlayers = 2\n"])
def test_a_wrong_option_is_refused_by_name(tmp_path, given, match, toml):
    """As it was typed, with what it takes: exit code 2, whatever the file says."""
    assert refused(tmp_path, UsageError, match, toml, **given).exit_code == 2


@pytest.mark.parametrize(
    ("toml", "given"),
    [
        (None, {"bptt": "full", "bptt_k2": 20}),
        ("[train]\nbptt = 'full'\n", {"bptt_k2": 20}),
    ],
)
def test_full_bptt_with_steps_is_a_contradiction(tmp_path, toml, given):
    """On the command line, or there against the file's: exit code 2 and what to drop."""
    error = refused(tmp_path, UsageError, "^--bptt-k2 applies only", toml, **given)
    assert str(error) == (
        "--bptt-k2 applies only to --bptt truncated; full BPTT reaches back to each series' "
        "first day. Drop one of them."
    )
    assert error.exit_code == 2


@pytest.mark.parametrize(
    "content",
    [
        b"[train\n",
        b"[train]\nlr =\n",
        b"[train]\nlr = 1\nlr = 2\n",
        b"\xff\xfe",
        b"\0",
        b"[train]\nhead = " + b"[" * 100_000,
        b"#" * 2**21,
    ],
    ids=["section", "value", "twice", "text", "zero", "depth", "size"],
)
@pytest.mark.parametrize("given", [{}, {"lr": 0.1}])
def test_a_malformed_file_is_refused_by_path(tmp_path, content, given):
    """Exit code 78."""
    (tmp_path / "forecaster.toml").write_bytes(content)
    match = f"{tmp_path}/forecaster.toml: .*; correct the file"
    assert refused(tmp_path, SettingsError, match, **given).exit_code == 78


def test_an_unreadable_file_is_refused_by_path(tmp_path, monkeypatch):
    """It is there, but may not be opened: not ignored."""
    (tmp_path / "forecaster.toml").touch()
    opened = Path.open

    def refuse(path, *args, **kwargs):
        if path.name == "forecaster.toml":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: refuse(Path(path), *a, **k))
    refused(tmp_path, SettingsError, "Permission denied")


@pytest.mark.parametrize(
    ("toml", "given", "kept"),
    [
        ("bptt_k2 = 63\nbptt_k1 = 21", {"bptt": "full"}, {"bptt_k2": None}),
        ("bptt_k2 = 'auto'\nbptt_tolerance = 0.1", {"bptt": "full"}, {"bptt_tolerance": None}),
        ("bptt_k2 = 'auto'\nbptt_tolerance = 0.1", {"bptt_k2": "21"}, {"bptt_k2": 21}),
        ("bptt_k2 = 'auto'", {"lookback": "30"}, {"lookback": 30, "bptt_k2": None}),
        ("bptt_k1 = 21", {"bptt_k2": "auto"}, {"bptt_k1": None}),
        ("bptt_k1 = 21", {"lookback": "30"}, {"lookback": 30, "bptt_k1": None}),
        ("bptt_k2 = 42\nbptt_k1 = 21", {"bptt_k2": "9"}, {"bptt_k1": None}),
        ("bptt_k1 = 21", {"bptt_k2": "50"}, {"bptt_k2": 50, "bptt_k1": None}),
        ("bptt_k1 = 21", {"bptt_k2": "84"}, {"bptt_k2": 84, "bptt_k1": 21}),
        ("lookback = 30\nloss = 'each-day'\nburn_in = 9", {"lookback": "all"}, {"burn_in": None}),
        ("lookback = 30\nloss = 'last-day'", {"lookback": "all"}, {"loss": None}),
        ("batch_rows = 8", {"lookback": "30"}, {"lookback": 30, "batch_rows": 64}),
        ("lookback = 30\nbidirectional = true", {"lookback": "all"}, {"bidirectional": False}),
        ("lookback = 30\nloss = 'each-day'\nburn_in = 9", {"loss": "last-day"}, {"burn_in": None}),
    ],
)
def test_a_setting_without_meaning_beside_an_option_gives_way(tmp_path, toml, given, kept):
    """Settings of the file for another way of training do not contradict the command line."""
    found = loaded(tmp_path, f"[train]\n{toml}\n", **given).model_dump()
    assert kept.items() <= found.items()


def test_the_environment_gives_way_and_the_file_below_it_too(tmp_path, monkeypatch):
    monkeypatch.setenv("FORECASTER_TRAIN__BPTT_K2", "20")
    found = loaded(tmp_path, "[train]\nbptt_k2 = 10\nlr = 0.5\n", bptt="full")
    assert (found.bptt_k2, found.lr) == (None, 0.5)
    monkeypatch.setenv("FORECASTER_TRAIN__BPTT", "full")
    refused(tmp_path, SettingsError, "^train: --bptt-k2 applies only")
    monkeypatch.delenv("FORECASTER_TRAIN__BPTT_K2")
    assert loaded(tmp_path).bptt_k2 is None, "the file is below the environment"


def test_batch_rows_beside_windows_are_refused_not_ignored(tmp_path):
    """An option that would have no effect says so."""
    match = "^--batch-rows applies only to whole histories; .* Use --lookback all, or drop it.$"
    assert refused(tmp_path, UsageError, match, batch_rows=8, lookback="30").exit_code == 2
    assert loaded(tmp_path, batch_rows=8).batch_rows == 8


def test_an_option_against_the_file_stays_a_contradiction(tmp_path):
    """What was typed never gives way to what stands in the file."""
    toml = "[train]\nbptt = 'full'\n"
    assert refused(tmp_path, UsageError, "--bptt-k2 applies", toml, bptt_k2=20).exit_code == 2


NOT_FITTING = {
    20: "--bptt-k2 20 is shorter than --bptt-k1 63: the errors of the 43 oldest days of every "
    "chunk would never be trained on. Use --bptt-k2 63 or more.",
    100: "--bptt-k2 must be a multiple of --bptt-k1 (63): try 126.",
}


@pytest.mark.parametrize(("k2", "k1"), [(20, 63), (100, 63)])
def test_a_chunk_that_the_plan_refuses_is_refused_in_words_of_options(tmp_path, k2, k1):
    """On the line exit code 2, in the file alone 78; the file's k1 gives way to the line."""
    with pytest.raises(ValueError, match="k2"):
        Plan.truncated(k2=k2, k1=k1)
    words = re.escape(NOT_FITTING[k2])
    refused(tmp_path, UsageError, f"^{words}$", bptt_k2=k2, bptt_k1=k1)
    toml = f"[train]\nbptt_k2 = {k2}\nbptt_k1 = {k1}\n"
    refused(tmp_path, SettingsError, f"^train: {words}$", toml)
    refused(tmp_path, UsageError, "--bptt-k2 ", toml, bptt_k1=k1)
    assert loaded(tmp_path, toml, bptt_k2=k2).bptt_k1 is None


@pytest.mark.parametrize("name", ["two\nlines", "a\rb", "bell\a", "\x7f"])
def test_a_home_with_a_control_character_is_refused(name):
    """It would forge a line of the log or of a crontab."""
    with pytest.raises(UsageError, match="control character; rename the folder"):
        resolve_home(name)
