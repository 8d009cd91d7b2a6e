"""The audit's own parts: other futures, comparisons, and clean audits of recipes of every kind.

That planted leaks are found is in `tests/cli/test_audit.py`.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import clock
from forecaster.audit.alterations import KINDS, Alteration, Kind, after_day, with_gaps
from forecaster.audit.comparison import Comparison, StageResult, Values, first_difference
from forecaster.audit.daily_values import row_values
from forecaster.audit.look_ahead import select_histories
from forecaster.data.history import History, validate_bars
from forecaster.data.panel import build_panel
from forecaster.errors import DataError, LeakError
from forecaster.pipeline.audit import AuditReport, audit
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.data.histories import drawn
from tests.synthetic import ragged_bars

CUT = np.datetime64("2024-03-01")
PANEL = {"AAA": 300, "BBB": 220, "CCC": 260}
FEW = {"dates": 3, "max_steps": 4}
SMALL = {"hidden": 3, "max_steps": 6}


def sound(ticker: str, days: int, seed: int, first: str = "2024-01-02") -> History:
    """A drawn history whose every bar is one that can be."""
    found = drawn(ticker, days, seed, first=first)
    bars = found.bars
    high, low = (
        bars[["open", "high", "close"]].max(axis=1),
        bars[["open", "low", "close"]].min(axis=1),
    )
    return replace(found, bars=bars.assign(high=high, low=low))


def ragged() -> list[History]:
    """Three histories: one around the cut, one that ends before it, one that begins after."""
    return [sound("AAA", 90, 1), sound("BBB", 30, 2), sound("CCC", 50, 3, "2024-03-15")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_future_keeps_the_past_and_is_what_the_reader_takes(kind: Kind) -> None:
    histories = ragged()
    altered = {h.listing.ticker: h for h in Alteration(kind=kind, cut=CUT).of(histories)}
    for history in histories:
        later = after_day(history, CUT)
        if history.listing.ticker not in altered:
            assert kind == "cut" and later.all()
            continue
        found = altered[history.listing.ticker].bars
        validate_bars(history.listing.ticker, found)
        pd.testing.assert_frame_equal(found[: (~later).sum()], history.bars[~later])
        if kind == "cut":
            assert len(found) == (~later).sum()
        else:
            assert len(found) == len(history.bars)
            assert later.any() != found.equals(history.bars)


def test_corrupted_bars_share_no_value_with_the_real_ones() -> None:
    """Prices, volume and dates; the first session after the date has no bar at all."""
    (history,) = histories = ragged()[:1]
    later = after_day(history, CUT)
    (found,) = Alteration(kind="corrupted", cut=CUT).of(histories)
    now, before = found.bars[later], history.bars[later]
    for name in ("open", "high", "low", "close"):
        assert not (now[name] == before[name]).any()
    assert (now["session"].to_numpy() > before["session"].to_numpy()).all()
    assert now["dividend"].any() and (now["split"] != 1.0).any()


def test_blanked_bars_keep_the_close_before_the_date_and_nothing_else() -> None:
    (history,) = histories = ragged()[:1]
    later = np.flatnonzero(after_day(history, CUT))
    (found,) = Alteration(kind="blanked", cut=CUT).of(histories)
    first = found.bars.iloc[later[0]]
    assert (first[["open", "high", "low", "close"]] == history.bars["close"][later[0] - 1]).all()
    assert (first["volume"], first["dividend"], first["split"]) == (0.0, 0.0, 1.0)
    kept = (found.bars["close"] == history.bars["close"])[later].mean()
    assert 0.2 < kept < 0.8


def test_gaps_stand_on_the_day_of_the_cut_alone() -> None:
    """What a fill would fill: no range, no volume, a ticker on its first day."""
    histories = [sound(name, 90, number) for number, name in enumerate(("AAA", "BBB", "CCC"))]
    for turn in range(3):
        found = with_gaps(histories, CUT, turn)
        for number, (history, real) in enumerate(zip(found, histories, strict=True)):
            validate_bars(history.listing.ticker, history.bars)
            here = history.bars[history.bars["session"] == pd.Timestamp(CUT)].iloc[0]
            if (number + turn) % 2 == 0:
                assert here["high"] == here["low"] and here["volume"] == 0.0
            begins = pd.Timestamp(CUT) if number == turn else real.bars["session"].iloc[0]
            assert history.bars["session"].iloc[0] == begins
    assert len(with_gaps(histories[:1], CUT, 0)[0].bars) == 90


def values(table: list[list[float]], days: list[str], ticker: str = "AAA") -> Values:
    return Values(
        columns=("open", "close")[: len(table[0])],
        values=np.array(table),
        tickers=np.array([ticker] * len(days)),
        days=np.array(days, dtype="datetime64[D]"),
    )


WHOLE = Alteration(kind="corrupted", cut=CUT)
SHORTER = Alteration(kind="cut", cut=CUT)


def test_the_oldest_difference_is_reported_and_missing_equals_missing() -> None:
    reference = values(
        [[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]], ["2024-01-04", "2024-01-03", "2024-01-02"]
    )
    assert first_difference("bars", reference, reference, WHOLE) == (5, None)
    changed = values(
        [[9.0, np.nan], [2.0, 3.5], [4.0, 5.0]], ["2024-01-04", "2024-01-03", "2024-01-02"]
    )
    count, leak = first_difference("bars", reference, changed, WHOLE)
    assert count == 5 and leak is not None
    assert leak.describe() == (
        "bars: close of AAA, 2024-01-03 is 3, but 3.5 with every bar after 2024-03-01 corrupted"
    )


def test_a_value_that_appears_or_goes_is_a_difference() -> None:
    reference = values([[1.0, np.nan]], ["2024-01-02"])
    _, leak = first_difference("bars", reference, values([[1.0, 2.0]], ["2024-01-02"]), WHOLE)
    assert leak is not None and leak.column == "close"


def test_a_row_or_a_column_of_one_side_alone_is_a_difference() -> None:
    reference = values([[1.0], [2.0]], ["2024-01-02", "2024-01-03"])
    _, leak = first_difference("bars", reference, values([[1.0]], ["2024-01-02"]), WHOLE)
    assert leak is not None and str(leak.day) == "2024-01-03" and leak.before == 1.0
    more = values([[1.0, 1.0], [2.0, 1.0]], ["2024-01-02", "2024-01-03"])
    _, leak = first_difference("bars", reference, more, WHOLE)
    assert leak is not None and leak.column == "the column close"
    other = values([[1.0], [2.0]], ["2024-01-02", "2024-01-03"], "BBB")
    assert first_difference("bars", reference, other, WHOLE)[1] is not None


@pytest.mark.parametrize(
    ("stage_rounds", "alteration", "moved", "leaks"),
    [
        (True, SHORTER, 1e-6, False),
        (True, SHORTER, 1e-3, True),
        (True, WHOLE, 1e-12, True),
        (False, SHORTER, 1e-12, True),
    ],
)
def test_rounding_is_allowed_where_rows_are_cut_and_nowhere_else(
    stage_rounds: bool, alteration: Alteration, moved: float, leaks: bool
) -> None:
    days = ["2024-01-02", "2024-01-03"]
    comparison = Comparison(["forecasts"], rounds=["forecasts"] if stage_rounds else [])
    comparison.compare(
        {"forecasts": values([[1.0], [3.0]], days)},
        {"forecasts": values([[1.0 + moved], [3.0]], days)},
        alteration,
    )
    (result,) = comparison
    assert (result.leak is not None) is leaks
    assert result.values == 2 and result.dates == {CUT}


def report(*stages: StageResult) -> AuditReport:
    day = CUT.item()
    return AuditReport(
        version=None,
        tickers=("AAA",),
        of_tickers=1,
        first=day,
        last=day,
        dates=(day,),
        max_steps=1,
        stages=stages,
    )


def test_a_stage_of_which_nothing_was_compared_proves_nothing() -> None:
    compared = StageResult(stage="bars", values=3)
    report(compared).raise_leaks()
    with pytest.raises(LeakError, match="Nothing was compared of scales") as raised:
        report(compared, StageResult(stage="scales")).raise_leaks()
    assert raised.value.exit_code == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"lookback": 10, "target": "range"},
        {"base": "none", "head": "point"},
        {"model": "gru", "head": "quantiles", "target": "return,volume"},
        {"model": "mlp", "base": "linear"},
        {"initial_state": "learned", "layers": 2, "bptt": "full"},
    ],
    ids=str,
)
def test_recipes_of_every_kind_are_clean(options: dict[str, object], tmp_path: Path) -> None:
    bars = ragged_bars(PANEL)
    train(bars, settings=TrainSettings(**SMALL, **options), home=tmp_path)  # type: ignore[arg-type]
    found = audit(bars=bars, home=tmp_path, **FEW)
    assert [leak.describe() for leak in found.leaks] == []
    found.raise_leaks()
    stages = [result.stage for result in found.stages]
    assert ("base" in stages) is (options.get("base") != "none")


def test_one_ticker_alone_is_audited_without_a_cross_section(tmp_path: Path) -> None:
    found = audit(bars=ragged_bars({"AAA": 180}), home=tmp_path, **FEW)
    found.raise_leaks()
    assert "cross-section" not in [result.stage for result in found.stages]
    assert found.version is None and found.tickers == ("AAA",)


@pytest.mark.slow
def test_exchanges_with_other_hours_are_read_by_their_own_clock(tmp_path: Path) -> None:
    """What is final at noon in New York is not what is final where trade never stops."""
    bars = ragged_bars({"AAA": 180, "BBB": 170})
    bars["calendar"] = np.where(bars["ticker"] == "BBB", "24/7", "XNYS")
    audit(bars=bars, home=tmp_path, **FEW).raise_leaks()  # type: ignore[arg-type]


def test_of_many_tickers_the_longest_and_the_shortest_are_read() -> None:
    histories = [drawn(f"T{number}", 30 + number, number) for number in range(9)]
    assert [h.listing.ticker for h in select_histories(histories, 3)] == ["T0", "T4", "T8"]
    assert len(select_histories(histories, 20)) == 9
    assert [h.listing.ticker for h in select_histories(histories, 1)] == ["T8"]


@pytest.mark.slow
def test_the_dates_lie_in_train_validation_and_test(tmp_path: Path) -> None:
    bars = ragged_bars(PANEL)
    made = train(bars, settings=TrainSettings(**SMALL), home=tmp_path)  # type: ignore[arg-type]
    blocks = made.manifest.data.blocks
    found = audit(bars=bars, home=tmp_path, dates=5, max_steps=1)
    within = [
        (day > blocks.train_until) + (day > blocks.validation_until) + 0 for day in found.dates
    ]
    assert within == [0, 0, 1, 1, 2] and found.dates[-1] < blocks.last


def test_prices_that_end_with_the_validation_days_cannot_be_audited(tmp_path: Path) -> None:
    bars = ragged_bars(PANEL)
    made = train(bars, settings=TrainSettings(**SMALL), home=tmp_path)  # type: ignore[arg-type]
    end = made.manifest.data.blocks.validation_until
    with pytest.raises(DataError, match=f"the validation days {end}"):
        audit(made.version, bars=bars, home=tmp_path, as_of=end)


def test_nothing_after_the_date_is_compared() -> None:
    """Else every clean audit would fail; and the date itself is, or a leak of one day passes."""
    histories = [drawn("AAA", 400, 1, first="2023-01-03"), drawn("BBB", 300, 2, first="2023-01-03")]
    panel = build_panel(histories, ("return",), universe=("AAA", "BBB"))
    found = row_values(panel, CUT)
    assert {str(part.days.max()) for part in found.values()} == {"2024-02-29", str(CUT)}
    assert found["targets"].days.max() < CUT <= found["features"].days.max()


def test_the_clock_is_frozen_inside_the_block_only() -> None:
    then = datetime(2020, 5, 4, 12, tzinfo=UTC)
    with pytest.raises(KeyError), clock.as_if(then):
        assert clock.now() == then
        raise KeyError
    assert clock.now().year > 2020
    with (
        pytest.raises(ValueError, match="needs a timezone"),
        clock.as_if(then.replace(tzinfo=None)),
    ):
        pass
