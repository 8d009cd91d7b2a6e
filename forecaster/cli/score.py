"""`forecaster score`."""

from typing import Annotated

import typer

from forecaster.cli.output import (
    AsOfOption,
    DateOption,
    HomeOption,
    JsonOption,
    command,
    day,
    print_json,
    print_table,
)

FORMATS = {
    **dict.fromkeys(("mse", "mae", "pinball", "promised_mse"), ".6g"),
    **dict.fromkeys(("skill", "cover80", "cover95"), ".2%"),
    **dict.fromkeys(("forecasts", "days"), ","),
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
    """Hold past forecasts against what came, beside what was promised of them.

    Live are the forecasts made before their session closed; late ones stand apart, for hindsight
    proves nothing. `skill` is against "tomorrow = today"; the intervals promised 80 and 95 %.

    Reads: models/registry.db, data/prices.db. Creates: nothing.

    Example: forecaster score --since 2018-01-01
    """
    from forecaster.pipeline.score import score

    found = score(tickers or (), home=home, name=name, since=day(since), as_of=day(as_of))
    if json:
        print_json(
            "score",
            {
                "scores": found.table,
                "per_ticker": found.per_ticker,
                "waiting": found.waiting,
                "lost": found.lost,
            },
        )
        return
    print_table(found.table, FORMATS)
    if len(found.per_ticker):
        print("\nlive, by ticker")
        print_table(found.per_ticker, FORMATS)
    print(f"\nwaiting {found.waiting:,} forecasts have no outcome yet")
    if found.lost:
        print(f"lost    {found.lost:,} forecasts whose session has no bar")
    print("cover80 and cover95 promised 80 % and 95 %; promised_mse is that of the select block")
