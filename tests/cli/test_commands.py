"""Each command as its user sees it: exit code, stdout, files made, JSON."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from forecaster.cli.predict import ENDS
from tests.cli.conftest import QUICK
from tests.synthetic import bars_of

FAST = ["--no-same-inputs", "--benchmarks", "quick"]
TINY = ["--hidden", "4", "--max-steps", "6"]
HORIZONS = [
    ["--bptt", "full", "--bptt-memory", "recompute"],
    ["--bptt-k2", "5", "--step-per", "epoch"],
    ["--bptt-k2", "20", "--bptt-k1", "10"],
    ["--lookback", "30", "--bptt-k2", "7"],
    ["--lookback", "30", "--loss", "each-day", "--bptt-k2", "10", "--bptt-k1", "5"],
    ["--lookback", "30", "--bidirectional", "--initial-state", "learned"],
]
MODELS = ["elman", "gru", "lstm"]
# In the fast tests each network, over histories and over windows.
SOON = {(0, "elman"), (1, "gru"), (2, "lstm"), (4, "gru")}

Run = Callable[..., Result]


def parsed(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def versions(home: Path) -> list[str]:
    found = [path for path in (home / "models").glob("2*") if path.is_dir()]
    return sorted(path.name for path in found if path.name[0] != ".")


def test_fetch_sample_stores_both_indices(run: Run, tmp_path: Path) -> None:
    content = parsed(run("fetch", "--source", "sample", "--home", tmp_path, "--json"))
    assert content["schema"] == "forecaster.fetch/1"
    assert [row["ticker"] for row in content["tickers"]] == ["NASDAQ", "SP500"]
    assert [row["days"] for row in content["tickers"]] == [5031, 5031]
    again = parsed(run("fetch", "--source", "sample", "--home", tmp_path, "--json"))
    assert [row["rows_changed"] for row in again["tickers"]] == [0, 0]


def test_data_list_and_show(run: Run, trained_home: Path) -> None:
    listed = parsed(run("data", "list", "--home", trained_home, "--json"))["tickers"]
    assert {row["ticker"]: row["days"] for row in listed} == {"AAA": 700, "BBB": 500, "CCC": 620}
    shown = parsed(run("data", "show", "bbb", "--rows", 3, "--home", trained_home, "--json"))
    assert (shown["basis"], shown["days"], len(shown["bars"])) == ("as-traded", 500, 3)
    assert "AAA" in run("data", "list", "--home", trained_home).stdout


def test_data_export_and_import_round_trip(run: Run, trained_home: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "out.csv", tmp_path / "other"
    other.mkdir()
    assert run("data", "export", file, "--home", trained_home).exit_code == 0
    assert run("data", "import", file, "--home", other).exit_code == 0
    for home in (trained_home, other):
        run("data", "export", tmp_path / f"{home.name}.csv", "--home", home)
    first, second = (pd.read_csv(tmp_path / f"{h.name}.csv") for h in (trained_home, other))
    pd.testing.assert_frame_equal(first, second)


def test_train_writes_one_verified_version(run: Run, home: Path) -> None:
    before = versions(home)
    done = run("train", "AAA", "--target", "range", *QUICK, "--home", home)
    assert done.exit_code == 0
    (made,) = set(versions(home)) - set(before)
    assert done.stdout.splitlines()[-1] == f"next    forecaster evaluate {made} --home {home}"
    assert sorted(os.listdir(home / "models" / made)) == ["manifest.json", "weights.safetensors"]
    assert not any((home / "models" / ".unfinished").iterdir())
    assert "k1 = k2 = 21 days" in done.stderr


def test_train_json_prints_one_object_and_nothing_else(run: Run, home: Path) -> None:
    content = parsed(run("train", "--target", "range", *QUICK, "--home", home, "--json"))
    assert content["version"] in versions(home)
    assert content["members"] == ["weights.safetensors"]
    assert content["tickers"] == ["AAA", "BBB", "CCC"]


@pytest.mark.parametrize(
    ("horizon", "model"),
    [
        pytest.param(horizon, model, marks=[] if (number, model) in SOON else pytest.mark.slow)
        for number, horizon in enumerate(HORIZONS)
        for model in MODELS
    ],
)
def test_every_network_trains_evaluates_and_predicts(
    run: Run, home: Path, horizon: list[str], model: str
) -> None:
    """In the fast tests each way of training once and each network twice."""
    options = ["--model", model, *horizon, "--target", "range", *TINY, "--home", home, "--json"]
    version = parsed(run("train", *options))["version"]
    scored = parsed(run("evaluate", version, *FAST, "--no-report", "--home", home, "--json"))
    assert scored["version"] == version and scored["scores"][0]["forecaster"] == model
    predicted = run(
        "predict", "--version", version, "--as-of", "2012-10-12", "--home", home, "--json"
    )
    assert len(parsed(predicted)["forecasts"]) == 3


def test_tickers_file(run: Run, home: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("AAA  # the first\n\n# none\nbbb\n")
    content = parsed(run("train", "--tickers-file", names, *QUICK, "--home", home, "--json"))
    assert content["tickers"] == ["AAA", "BBB"]
    names.write_text("# none\n")
    assert run("train", "--tickers-file", names, "--home", home).exit_code == 2
    assert run("train", "--tickers-file", tmp_path / "none", "--home", home).exit_code == 2


def test_evaluate_prints_benchmarks_days_and_conclusions(run: Run, home: Path) -> None:
    done = run("evaluate", "--no-same-inputs", "--home", home)
    assert done.exit_code == 0
    for word in (
        "train",
        "validation",
        "test",
        "zero-return",
        "ar5",
        "persistence",
        "har",
        "har-x",
    ):
        assert word in done.stdout
    assert done.stdout.count("conclusion  LSTM vs ") >= 2
    assert "AAA" in done.stdout


@pytest.fixture(scope="module")
def evaluated(
    run: Run, pristine_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, pd.DataFrame]:
    """The JSON and the forecasts of one evaluation against every benchmark."""
    folder = tmp_path_factory.mktemp("evaluated")
    home, file = shutil.copytree(pristine_home, folder / "home"), folder / "forecasts.csv"
    done = run("evaluate", "--forecasts", file, "--no-report", "--home", home, "--json")
    return parsed(done), pd.read_csv(file)


def test_evaluate_json_has_what_scripts_rely_on(evaluated: tuple[dict, pd.DataFrame]) -> None:
    content, _ = evaluated
    assert {"schema", "version", "target", "blocks", "scores", "scores_by_ticker"} <= set(content)
    assert content["target"] == "return,range"
    assert set(content["blocks"]) == {"train", "validation", "test"}
    assert {"forecaster", "metric", "value", "days"} <= set(content["scores"][0])
    assert {row["ticker"] for row in content["scores_by_ticker"]} == {"AAA", "BBB", "CCC"}


def test_evaluate_scores_one_target_of_several(run: Run, home: Path) -> None:
    one = parsed(run("evaluate", "--target", "range", *FAST, "--home", home, "--json"))
    assert one["target"] == "range" and {row["target"] for row in one["scores"]} == {"range"}


def test_evaluate_writes_the_forecast_table(evaluated: tuple[dict, pd.DataFrame]) -> None:
    _, table = evaluated
    expected = "ticker as_of session target forecaster forecast actual last_close price_forecast"
    assert list(table.columns) == [*expected.split(), "price_actual", *ENDS, "log_score"]
    ranges = table[table["target"] == "range"]
    assert ranges["price_forecast"].isna().all() and ranges["price_actual"].isna().all()
    assert table["forecast"].notna().all()


def test_predict_gives_the_next_session_of_each_ticker(run: Run, home: Path) -> None:
    # Friday 5 October 2012: Columbus Day is a session, so the next one is Monday the 8th.
    words = ["--target", "return", "--as-of", "2012-10-05", "--home", home, "--json"]
    content = parsed(run("predict", "bbb", *words))
    (row,) = content["forecasts"]
    assert (row["ticker"], row["as_of"], row["session"]) == ("BBB", "2012-10-05", "2012-10-08")
    assert row["target"] == "return"
    assert row["q025"] < row["q10"] < row["forecast"] < row["q90"] < row["q975"]
    assert 0.0 < row["prob_up"] < 1.0
    assert row["price_q10"] < row["price_forecast"] < row["price_q90"]


def test_models_list_and_show(run: Run, home: Path) -> None:
    (made,) = parsed(run("models", "list", "--home", home, "--json"))["versions"]
    assert (made["state"], made["targets"]) == ("intact", "return,range")
    shown = parsed(run("models", "show", "--home", home, "--json"))["manifest"]
    assert shown["version"] == made["version"]
    weights = home / "models" / made["version"] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (corrupt,) = parsed(run("models", "list", "--home", home, "--json"))["versions"]
    assert corrupt["state"] == "corrupt"
    assert run("models", "show", "--home", home).exit_code == 65


def test_models_list_counts_tickers_beside_a_corrupt_version(run: Run, home: Path) -> None:
    (made,) = versions(home)
    shutil.copytree(home / "models" / made, home / "models" / f"{made[:-8]}00000000")
    rows = parsed(run("models", "list", "--home", home, "--json"))["versions"]
    assert {row["state"]: row["tickers"] for row in rows} == {"corrupt": None, "intact": 3}
    names, *lines = run("models", "list", "--home", home).stdout.splitlines()
    at = names.index("tickers")
    assert [line[at:].split()[0] for line in lines if line.endswith("intact")] == ["3"]


def test_a_corrupt_newest_version_is_passed_over(run: Run, home: Path) -> None:
    (made,) = versions(home)
    shutil.copytree(home / "models" / made, home / "models" / f"9{made[1:]}")
    done = run("predict", "AAA", "--as-of", "2012-10-12", "--home", home, "--json")
    assert [one["version"] for one in parsed(done)["models"]] == [made]
    assert done.stderr.startswith(f"WARNING version 9{made[1:]} is corrupt")
    assert run("evaluate", f"9{made[1:]}", "--home", home).exit_code == 65


def test_no_versions_are_an_empty_list_and_the_next_command(run: Run, tmp_path: Path) -> None:
    done = run("models", "list", "--home", tmp_path)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"next    forecaster train --home {tmp_path}"
    assert run("models", "list", "--home", tmp_path / "none").exit_code == 66


@pytest.mark.parametrize("before", [True, False])
def test_the_next_command_is_for_the_same_home_and_day(run: Run, home: Path, before: bool) -> None:
    """Ready to be pasted into a shell, wherever the home option stands."""
    spaced = home.rename(home.parent / "a home")
    options, until = ["--home", spaced], ["--as-of", "2012-10-12"]
    train, evaluate = ["train", "AAA", *QUICK, *until], ["evaluate", *FAST, *until]
    for line in (train, evaluate):
        done = run(*options, *line) if before else run(*line, *options)
        last = done.stdout.splitlines()[-1]
        assert last.startswith("next    forecaster ")
        assert shlex.split(last)[-4:] == [*until, "--home", str(spaced)]
        quickly = FAST if line is train else []  # of the evaluation that comes next
        assert run(*shlex.split(last)[2:], *quickly).exit_code == 0


def test_nothing_is_repeated_that_was_not_given(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    lines = run("train", "AAA", *QUICK).stdout.splitlines()
    made = versions(home)[-1]
    assert lines[-2:] == [f"saved   models/{made}", f"next    forecaster evaluate {made}"]


def test_predict_explains_the_units_of_the_targets_shown_only(run: Run, trained_home: Path) -> None:
    until = ["--as-of", "2012-10-12", "--no-record", "--home", trained_home]
    returns = run("predict", "--wide", "--target", "return", *until).stdout
    assert "price = last_close x exp(forecast)" in returns and "high / low" not in returns
    ranges = run("predict", "--wide", "--target", "range", *until).stdout
    assert "log(high / low) of the session, in per cent" in ranges and "price" not in ranges
    assert "price" not in ranges and "prob_up" not in ranges and "  interval" not in ranges


def test_predict_writes_every_number_to_a_file(
    run: Run, trained_home: Path, tmp_path: Path
) -> None:
    """Of the tickers in a file; another ending is refused before any work."""
    names = tmp_path / "names.txt"
    names.write_text("bbb  # one\n")
    words = ["predict", "--tickers-file", names, "--as-of", "2012-10-12", "--no-record"]
    words += ["--home", trained_home]
    found = parsed(run(*words, "--json"))["forecasts"]
    assert {row["ticker"] for row in found} == {"BBB"}
    done = run(*words, "--out", tmp_path / "made.json")
    assert "saved   " in done.stdout and "BBB" in done.stdout
    assert json.loads((tmp_path / "made.json").read_text()) == found
    assert run(*words, "--out", tmp_path / "made.csv").exit_code == 0
    assert len((tmp_path / "made.csv").read_text().splitlines()) == len(found) + 1
    several = run(*words, "--target", "return,range")
    assert several.exit_code == 2 and "give one target, or leave it out" in several.stderr
    refused = run(*words, "--out", tmp_path / "made.txt")
    assert refused.exit_code == 2 and ".csv, .parquet or .json" in refused.stderr
    assert refused.stdout == ""


def test_predict_marks_forecasts_of_training_days(run: Run, trained_home: Path) -> None:
    (made,) = versions(trained_home)
    until = ["--as-of", "2012-05-01", "--no-record", "--home", trained_home, "--json"]
    done = run("predict", "AAA", "--version", made, *until)
    content = parsed(done)
    assert content["in_sample"] is True and content["missing"] == []
    assert done.stderr.startswith(f"WARNING version {made} was trained and validated on days until")
    row = content["forecasts"][0]
    assert row["trained_on"] is True and row["interval"] in ("own", "pooled")
    refused = run("predict", "AAA", *until)
    assert refused.exit_code == 66 and "--as-of 2012-05-01" in refused.stderr


def test_home_comes_from_the_environment(
    run: Run, trained_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORECASTER_HOME", str(trained_home))
    assert "AAA" in run("data", "list").stdout


def test_home_and_json_may_stand_before_the_command_too(
    run: Run, trained_home: Path, tmp_path: Path
) -> None:
    before = run("--home", trained_home, "--json", "data", "list")
    after = run("data", "list", "--home", trained_home, "--json")
    assert before.stdout == after.stdout and before.exit_code == 0
    both = run("--home", tmp_path, "data", "list", "--home", trained_home, "--json")
    assert both.stdout == after.stdout


def test_quiet_keeps_stderr_empty(run: Run, home: Path) -> None:
    done = run("train", "--target", "range", *QUICK, "--home", home, "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")


def test_settings_file_of_the_home_is_read(run: Run, home: Path) -> None:
    (home / "forecaster.toml").write_text("[train]\nmodel = 'gru'\nhidden = 4\nmax_steps = 25\n")
    content = parsed(run("train", "--home", home, "--json"))
    assert content["training"]["hidden"] == 4
    assert content["version"].split("-")[2] == "gru"
    (home / "forecaster.toml").write_text("[train]\nhiden = 4\n")
    done = run("train", "--home", home)
    assert done.exit_code == 78 and "hiden" in done.stderr


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "forecaster", *map(str, arguments)]


def test_a_closed_pipe_ends_well(trained_home: Path) -> None:
    shown = " ".join(command_line("data", "show", "AAA", "--rows", 700, "--home", trained_home))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shown} | head -1"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


ASCII_ONLY = [
    pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow),
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("environment", ASCII_ONLY, ids=["ioencoding", "locale"])
def test_a_name_that_the_streams_cannot_encode_is_escaped(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A company's on stdout, a file's on stderr, both after the work is done."""
    file = tmp_path / "\u4fa1\u683c.csv"
    named = bars_of("AAA", 30).drop(columns="volume").assign(name="Nestl\u00e9 \u96c0\u5de2")
    named.to_csv(file, index=False)
    options = {"capture_output": True, "env": {**os.environ, **environment}}
    imported = subprocess.run(
        command_line("data", "import", file, "--home", tmp_path), check=False, **options
    )
    assert imported.returncode == 0, imported.stderr
    shown = subprocess.run(
        command_line("data", "show", "AAA", "--home", tmp_path), check=False, **options
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert rb"Nestl\xe9 \u96c0\u5de2" in shown.stdout
    assert b".csv: no volume column" in imported.stderr


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_stops_training_and_leaves_no_half_version(
    home: Path, number: signal.Signals, code: int
) -> None:
    before = versions(home)
    slow = command_line("train", "--max-steps", 100_000, "--home", home)
    patient = {**os.environ, "FORECASTER_TRAIN__PATIENCE": "100000"}
    process = subprocess.Popen(slow, stderr=subprocess.PIPE, text=True, env=patient)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("bptt"):
            break
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    process.stderr.close()
    assert versions(home) == before
