"""Every mistake a user can make: one line with the remedy, the exit code, nothing lost."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from tests.cli.conftest import QUICK
from tests.synthetic import bars_of

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]


def stored(run: Run, home: Path) -> str:
    return run("data", "list", "--home", home, "--json").stdout


def refused(result: Result, code: int, *words: str) -> None:
    """Assert the exit code, and one line on stderr with the words."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("forecaster: ")]
    assert len(lines) == 1 and result.stdout == "", result.output
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bptt", "full", "--bptt-k2", 20], ["--bptt-k2 applies only to --bptt truncated"]),
        (["--bptt", "full", "--bptt-k1", 20], ["--bptt-k1 applies only to"]),
        (["--bptt-k2", 20, "--bptt-k1", 63], ["--bptt-k2 63 or more"]),
        (["--bptt-k2", 100, "--bptt-k1", 63], ["a multiple of --bptt-k1 (63): try 126"]),
        (["--lookback", 30, "--bptt-k1", 5], ["no meaning there. Drop it"]),
        (["--loss", "last-day"], ["--loss last-day is for windows"]),
        (["--burn-in", 5], ["--burn-in is for windows"]),
        (["--lookback", 30, "--burn-in", 5], ["--burn-in has no meaning with --loss last-day"]),
        (
            ["--lookback", 30, "--loss", "each-day", "--burn-in", 30],
            ["--burn-in 30 is not below --lookback 30: no day would be scored"],
        ),
        (["--bidirectional"], ["reads days after the one it predicts"]),
        (
            ["--bidirectional", "--lookback", 30, "--loss", "each-day"],
            ["Allowed only with --lookback and --loss last-day"],
        ),
        (["--bidirectional", "--lookback", 99], ["cannot be cut at 63 days", "--bptt full"]),
        (["--lookback", 0], ["--lookback 0", "at least 1 day"]),
        (["--lookback", "some"], ["--lookback some"]),
        (["--device", "cuda"], ["--device cuda", "--device cpu"]),
        (["--target", "price"], ["--target price"]),
        (["--hidden", 0], ["--hidden 0"]),
        (["--bptt-k2", 0], ["--bptt-k2 0"]),
        (["--lr", -1], ["--lr -1"]),
        (["--train-until", "2012-01-01", "--validation-until", "2011-01-01"], ["--train-until"]),
        (["--as-of", "2999-01-01"], ["--as-of 2999-01-01", "today"]),
        (["../../x"], ["'../../x' is not a ticker"]),
    ],
)
def test_contradictory_or_malformed_options_exit_2(
    run: Run, trained_home: Path, options: list[object], words: list[str]
) -> None:
    refused(run("train", *options, "--home", trained_home), 2, *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "tpu"], "--device tpu: Input should be 'auto', 'cpu', 'cuda' or 'mps'."),
        (["--model", "transformer"], "'elman', 'gru', 'lstm' or 'mlp'."),
        (["--loss", "all"], "'each-day' or 'last-day'."),
    ],
)
def test_a_value_of_no_choice_is_one_line_with_the_choices(
    run: Run, tmp_path: Path, options: list[str], words: str
) -> None:
    refused(run("train", *options, "--home", tmp_path), 2, words)


def test_text_for_a_number_exits_2(run: Run) -> None:
    done = run("train", "--hidden", "many")
    assert done.exit_code == 2 and done.stdout == "" and "--hidden" in done.stderr


def test_a_malformed_ticker_exits_2_whatever_else_is_missing(run: Run, tmp_path: Path) -> None:
    for command in ("train", "predict"):
        refused(run(command, "../../x", "--home", tmp_path), 2, "'../../x' is not a ticker")


def test_unknown_ticker_exits_66(run: Run, trained_home: Path) -> None:
    for command in ("train", "predict"):
        refused(run(command, "ABA", "--home", trained_home), 66, "ABA", "AAA")
    refused(run("data", "show", "ZZZ", "--home", trained_home), 66, "ZZZ")


def test_unknown_ticker_of_a_source_exits_66(run: Run, tmp_path: Path) -> None:
    done = run("fetch", "AAPL", "--source", "sample", "--home", tmp_path, "--quiet")
    assert done.exit_code == 66 and "SP500" in done.stderr


def test_unknown_version_exits_66(run: Run, trained_home: Path) -> None:
    refused(
        run("evaluate", "20200101-000000-lstm-00000000", "--home", trained_home), 66, "No version"
    )
    refused(run("evaluate", "../../etc", "--home", trained_home), 66, "No version")
    refused(run("predict", "--target", "volume", "--home", trained_home), 66, "--target volume")


def test_history_shorter_than_the_lookback_exits_65(run: Run, trained_home: Path) -> None:
    done = run("train", "BBB", "--lookback", 600, "--home", trained_home)
    refused(done, 65, "BBB: 500 trading days", "at least 601", "--lookback")


@pytest.mark.slow
def test_a_short_ticker_is_left_out_and_the_others_train(
    run: Run, home: Path, tmp_path: Path
) -> None:
    bars_of("NEW", 30).to_csv(tmp_path / "new.csv", index=False)
    assert run("data", "import", tmp_path / "new.csv", "--home", home).exit_code == 0
    done = run("train", "--lookback", 40, "--target", "range", *QUICK, "--home", home, "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["skipped"] == ["NEW"]
    assert "NEW: 30 trading days" in done.stderr


@pytest.mark.parametrize(
    ("row", "column", "value", "word"),
    [
        (5, "close", "", "close"),
        (5, "close", "nan", "close"),
        (5, "high", "inf", "high"),
        (5, "low", "0", "low"),
        (5, "open", "-3", "open"),
        (5, "close", "abc", "abc"),
        (5, "session", "2010-01-04", "2010-01-04"),
        (5, "session", "soon", "soon"),
        (5, "volume", "-1", "volume"),
    ],
)
def test_a_bad_row_is_reported_and_the_others_are_stored(
    run: Run, home: Path, tmp_path: Path, row: int, column: str, value: str, word: str
) -> None:
    """With its line, exit 3, and a table that counts it by its rule."""
    table = bars_of("NEW", 30).astype(str)
    table.loc[row, column] = value
    file = tmp_path / "bad.csv"
    table.to_csv(file, index=False)
    done = run("data", "import", file, "--home", home, "--json")
    assert done.exit_code == 3 and "forecaster: rows left out: 1 " in done.stderr
    content = json.loads(done.stdout)
    (left,) = content["left_out"]
    assert "line 7" in left["first"] or value == "2010-01-04"
    assert word in left["first"] and content["tickers"][0]["days"] == 29


def test_a_bad_file_is_named_and_the_good_one_beside_it_stored(
    run: Run, home: Path, tmp_path: Path
) -> None:
    """In whatever order; the failure is a row of the table, the exit code 3."""
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    bars_of("GOOD", 30).to_csv(good, index=False)
    bars_of("BAD", 30).drop(columns="open").to_csv(bad, index=False)
    done = run("data", "import", bad, good, "--home", home)
    assert done.exit_code == 3 and f"1 of 2 tickers failed: {bad}" in done.stderr
    assert f"WARNING {bad}: no column for open" in done.stderr
    assert '"GOOD"' in stored(run, home) and "BAD" not in stored(run, home)


def test_a_bar_of_the_future_is_refused(run: Run, home: Path, tmp_path: Path) -> None:
    table = bars_of("NEW", 30)
    table["session"] += pd.Timedelta(days=365 * 40)
    table.to_csv(tmp_path / "f.csv", index=False)
    refused(run("data", "import", tmp_path / "f.csv", "--home", home), 65, "future")


def test_missing_ticker_or_column_of_a_file_exits_2(run: Run, home: Path, tmp_path: Path) -> None:
    table = bars_of("NEW", 30)
    table.drop(columns="ticker").to_csv(tmp_path / "prices.csv", index=False)
    refused(run("data", "import", tmp_path / "prices.csv", "--home", home), 2, "--ticker")
    table.rename(columns={"close": "fin"}).to_csv(tmp_path / "b.csv", index=False)
    refused(run("data", "import", tmp_path / "b.csv", "--home", home), 2, "close")
    mapped = run("data", "import", tmp_path / "b.csv", "--map", "close=fin", "--home", home)
    assert mapped.exit_code == 0
    refused(run("data", "import", tmp_path / "b.csv", "--map", "close", "--home", home), 2, "--map")
    refused(run("data", "import", tmp_path / "none.csv", "--home", home), 2, "none.csv")


def weights_of(home: Path) -> Path:
    (found,) = (home / "models").glob("*/weights.safetensors")
    return found


@pytest.mark.parametrize("damage", ["one bit", "truncated", "junk", "gone"])
def test_corrupt_weights_are_refused(run: Run, home: Path, damage: str) -> None:
    file = weights_of(home)
    content = bytearray(file.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    file.write_bytes({"truncated": content[:-10], "junk": b"junk"}.get(damage, content))
    if damage == "gone":
        file.unlink()
    for command in ("evaluate", "predict"):
        refused(run(command, "--as-of", "2012-10-12", "--home", home), 65, "corrupt")


def test_a_missing_home_stops_writers_before_any_work(run: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "where"
    refused(run("fetch", "--source", "sample", "--home", nowhere), 73, "mkdir -p")
    refused(run("train", "--home", nowhere), 73, "mkdir -p")
    readers = (["data", "list"], ["predict"], ["evaluate"], ["memory"], ["models", "show"])
    for reader in (*readers, ["models", "list"], ["status"], ["score"]):
        refused(run(*reader, "--home", nowhere), 66, "mkdir -p")
    assert not nowhere.exists()


def unprivileged() -> list[str]:
    """What makes permission bits bind even where the tests run as root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give up its privileges")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]


@pytest.mark.slow  # a read-only disk, fetched to and listed, is in tests/pipeline
def test_a_read_only_home_can_be_read_but_not_written(home: Path) -> None:
    everything = [home, *home.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)

    modules = [f"forecaster.pipeline.{name}" for name in ("fetch", "train", "predict")]
    commands = ["data list", "predict --as-of 2012-10-12", "fetch --source sample", "train"]
    lines = [f"forecaster {command} --home {shlex.quote(str(home))}\n" for command in commands]
    process = [*unprivileged(), sys.executable, "-m", "tests.forked", *modules]
    pipes = {"cwd": ROOT, "text": True, "capture_output": True}
    try:
        done = subprocess.run(process, input="".join(lines), check=True, **pipes)
        assert "AAA" in done.stdout and "Traceback" not in done.stderr, done.stderr
        codes = [line for line in done.stdout.splitlines() if line.startswith("exit ")]
        assert codes == ["exit 0", "exit 0", "exit 73", "exit 73"]
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_an_empty_home_gives_the_next_command(run: Run, tmp_path: Path) -> None:
    refused(run("train", "--home", tmp_path), 66, "forecaster fetch")
    refused(run("evaluate", "--home", tmp_path), 66, "forecaster train")


def test_a_stale_ticker_gets_no_forecast(run: Run, home: Path) -> None:
    refused(run("predict", "--home", home), 65, "AAA", "sessions before", "forecaster fetch")


def test_as_of_before_the_prices_exits_65(run: Run, trained_home: Path) -> None:
    refused(run("predict", "--as-of", "1999-01-04", "--home", trained_home), 65, "no bar")


def test_start_after_end_exits_2(run: Run, tmp_path: Path) -> None:
    span = ["--start", "2018-01-02", "--end", "2017-01-03"]
    refused(run("fetch", "--source", "sample", *span, "--home", tmp_path), 2, "--start", "--end")


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    done = run("--debug", "train", "--home", tmp_path)
    assert done.exit_code == 66 and "Traceback" in done.stderr
    assert "Traceback" not in run("train", "--home", tmp_path).stderr
