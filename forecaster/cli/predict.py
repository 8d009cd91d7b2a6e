"""`forecaster predict` and `forecaster score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.forecast_table import forecast_lines, shown_width
from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    DateOption,
    HomeOption,
    JsonOption,
    QuietOption,
    TickersArgument,
    TickersFileOption,
    command,
    day,
    last_day,
    print_json,
    print_lines,
    print_table,
    read_tickers,
    shown,
)
from forecaster.errors import PartialFailure, name_some

if TYPE_CHECKING:
    from forecaster.pipeline.predict import Prediction

ENDS = ("q025", "q10", "q90", "q975")
VALUES = ("forecast", *ENDS)
PRICES = ("last_close", *(f"price_{name}" for name in VALUES))
UNITS = {
    "return": "log total return, so price = last_close x exp(forecast)",
    "range": "log(high / low) of the session, in per cent",
    "volume": "close x volume of the session, in the listing's currency",
}
FORMATS = {"return": "+.5f", "range": ".2%", "volume": ",.0f"}


@command
def predict_command(
    context: typer.Context,
    tickers: TickersArgument = None,
    version: Annotated[
        str | None,
        typer.Option(help="None: the champions; without any promotion test, the newest."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="One target [all].")] = None,
    name: Annotated[
        str | None, typer.Option(help="Only the champion of this model name [all].")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Record the forecasts, to score them.")
    ] = True,
    tickers_file: TickersFileOption = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="A table per target with every number.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every number, as .csv, .parquet or .json."),
    ] = None,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Forecast each ticker's next session, with an 80 % interval.

    Printed are the columns for which the terminal is wide enough, in the order range, return,
    price, volume.

    Reads: models/<version>/, data/prices.db. Creates: a row per forecast in models/registry.db.

    Example: forecaster predict SP500 --as-of 2018-12-31
    """
    from forecaster.pipeline.arguments import check_forecast_file, check_model

    last, settings = last_day(as_of), read_settings(context, home).predict
    check_model(version, name, target)
    check_forecast_file(out)
    names = [*(tickers or ()), *read_tickers(tickers_file)]
    from forecaster.pipeline.predict import predict, write_forecasts

    result = predict(
        names,
        version=version,
        target=target,
        name=name,
        home=home,
        as_of=last,
        settings=settings,
        record=record,
    )
    if out is not None:
        write_forecasts(result, out)
    if json:
        _print_json(result)
    else:
        _print(result, wide=wide)
        print_lines("saved   {}", [shown(out)] if out else [])
    skipped = [f"no forecast for {', '.join(result.skipped)}"] if result.skipped else []
    if troubles := [*result.troubles, *skipped]:
        raise PartialFailure(f"Done, but {'; '.join(troubles)}.")


def _print_json(result: "Prediction") -> None:
    print_json(
        "predict",
        {
            "models": [{"name": name, "version": found} for name, found in result.models.items()],
            "coverage": {"q10..q90": 0.8, "q025..q975": 0.95},
            "forecasts": result.forecasts,
            "skipped": result.skipped,
            "missing": result.missing,
            "in_sample": result.in_sample,
            "recorded": result.recorded,
            "troubles": result.troubles,
        },
    )


def _print(result: "Prediction", *, wide: bool) -> None:
    if wide:
        _print_wide(result)
    else:
        rows: Any = result.forecasts.to_dict(orient="records")
        print(*forecast_lines(rows, shown_width()), "", sep="\n")
    for name, version in result.models.items():
        whose = "baseline" if version == "baseline" else f"version {version}"
        print(f"model   {name}: {whose}")
    _print_interval(result)
    print("Not advice.")


def _print_interval(result: "Prediction") -> None:
    """Print what the intervals are, and for which tickers they are wider or missing."""
    print("In brackets: the 80 % prediction interval, conformal (adapted to a ticker's outcomes).")
    sources = result.forecasts.groupby("interval", sort=False)["ticker"].unique()
    words = {"pooled": "adapted to all tickers' outcomes", "none": "too few outcomes: no interval"}
    for source, text in words.items():
        if source in sources:
            print(f"{text}: {name_some(list(sources[source]))}")


def _print_wide(result: "Prediction") -> None:
    import numpy as np

    hidden = ["version", "forecaster", "trained_on"]
    if (result.forecasts["interval"] == "own").all():
        hidden.append("interval")
    for target, rows in result.forecasts.groupby("target", sort=False):
        if target != "return":  # its forecasts are logarithms
            rows = rows.assign(**{name: np.exp(rows[name]) for name in VALUES})
        formats = dict.fromkeys(VALUES, FORMATS.get(str(target), ".6g")) | dict.fromkeys(
            PRICES, ",.2f"
        )
        formats["prob_up"] = ".1%"
        print_table(rows.drop(columns=hidden).dropna(axis=1, how="all"), formats)
        unit = UNITS.get(str(target), "of the session, in the column's own unit")
        print(f"{target:<8}{unit}\n")
    print("q10..q90 is the 80 %, q025..q975 the 95 % prediction interval")


SCORE_FORMATS = {
    **dict.fromkeys(("mse", "mae", "pinball", "expected_mse"), ".6g"),
    **dict.fromkeys(("skill", "coverage_80", "coverage_95"), ".2%"),
    **dict.fromkeys(("forecasts", "days", "moved"), ","),
}


@command
def score_command(
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all ever forecast.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of one model name [all].")] = None,
    since: DateOption = None,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Score past forecasts whose outcomes are known, with the errors expected of them.

    Live forecasts were made before the close of their session; late ones are listed separately,
    because hindsight proves nothing. `skill` is against "tomorrow = today"; the nominal coverage
    of the intervals is 80 and 95 %.

    Reads: models/registry.db, data/prices.db. Creates: nothing.

    Example: forecaster score --since 2018-01-01
    """
    last = last_day(as_of)
    from forecaster.pipeline.status import score

    found = score(tickers or (), home=home, name=name, since=day(since), as_of=last)
    if json:
        tables = {"scores": found.table, "per_ticker": found.per_ticker}
        counts = {"pending": found.pending, "unscorable": found.unscorable}
        print_json("score", tables | counts)
        return
    print_table(found.table, SCORE_FORMATS)
    if len(found.per_ticker):
        print("\nlive, by ticker")
        print_table(found.per_ticker, SCORE_FORMATS)
    print(f"\npending    {found.pending:,} forecasts without an outcome yet")
    if found.unscorable:
        print(f"unscorable {found.unscorable:,} forecasts whose outcome the stored bars lack")
    if len(found.table) and found.table["moved"].any():
        print("moved      scored against the session that came, not the one that was expected")
    print("expected_mse is that of the validation days; nominal coverage is 80 % and 95 %")
