"""`forecaster data quarantine`: bars that break a rule, and decisions about them."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated

import typer

from forecaster.cli.output import (
    HomeOption,
    JsonOption,
    command,
    print_json,
    print_lines,
    print_next,
    print_table,
)
from forecaster.errors import UsageError

app = typer.Typer(help="Bars that break a rule: list, show, release, drop.", no_args_is_help=True)
PRICES = ["open", "high", "low", "close"]
TickersArgument = Annotated[list[str] | None, typer.Argument(metavar="TICKER")]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="TICKER|DATE", help="Which tickers, and which of their days."),
]
RuleOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only findings of this rule [all].")
]


@app.command("list")
@command
def list_command(
    tickers: TickersArgument = None,
    rule: RuleOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List bars in quarantine: held, released or dropped, with rule and reason.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data quarantine list AAPL
    """
    from forecaster.pipeline.quarantine import quarantine_table

    table = quarantine_table(tickers or (), rule=rule or "", home=home)
    if json:
        print_json("data.quarantine.list", {"entries": table})
    else:
        print_table(table, dict.fromkeys(PRICES, ".6g"))


@app.command("show")
@command
def show_command(
    ticker: Annotated[str, typer.Argument(help="A ticker in quarantine.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what is held of a ticker, why, the bars around it, and the commands that decide it.

    Reads: data/prices.db. Creates: nothing.

    Example: forecaster data quarantine show AAPL
    """
    from dataclasses import asdict

    from forecaster.pipeline.quarantine import held_bars

    formats = dict.fromkeys([*PRICES, "dividend", "split"], ".6g") | {"volume": ",.0f"}
    found = held_bars(ticker, home=home)
    if json:
        parts = [{"bars": one.bars, "commands": one.commands} for one in found]
        entries = [asdict(one.entry) | part for one, part in zip(found, parts, strict=True)]
        print_json("data.quarantine.show", {"ticker": ticker.upper(), "entries": entries})
        return
    for one in found:
        entry = one.entry
        print(f"{entry.rule}  {entry.session}, held since {entry.since}: {entry.reason}")
        print_table(one.bars, formats)
        print_lines("{}", one.commands)
        print()


@app.command("release")
@command
def release_command(
    names: NamesArgument = None,
    rule: RuleOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Accept bars of some tickers or of a rule; the next fetch or import stores them.

    Reads: data/prices.db. Creates: the decision, in data/prices.db.

    Example: forecaster data quarantine release AAPL MSFT 2024-01-05
    """
    from forecaster.pipeline.quarantine import release, ways_to_store

    tickers, days = _tickers_and_days(names or ())
    count = release(tickers, days, rule=rule or "", home=home)
    _print_decision("released", tickers, rule, count, json=json)
    for words in () if json else ways_to_store(tickers, home=home):
        print_next(words, home)


@app.command("drop")
@command
def drop_command(
    names: NamesArgument = None,
    rule: RuleOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Reject bars; remove them from the store and leave them out while served unchanged.

    Reads: data/prices.db. Creates: the decision, in data/prices.db.

    Example: forecaster data quarantine drop AAPL 2024-01-05 2024-01-08
    """
    from forecaster.pipeline.quarantine import drop

    tickers, days = _tickers_and_days(names or ())
    count = drop(tickers, days, rule=rule or "", home=home)
    _print_decision("dropped", tickers, rule, count, json=json)
    if not json:
        print_next(" ".join(["data check", *tickers]), home)


def _tickers_and_days(names: Sequence[str]) -> tuple[list[str], list[date]]:
    """Return the tickers and the days such as 2024-01-05 among words."""
    tickers, days = [], []
    for name in names:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", name):
            tickers.append(name.upper())
            continue
        try:
            days.append(date.fromisoformat(name))
        except ValueError as error:
            raise UsageError(f"{name} is no date: {error}.") from None
    return tickers, days


def _print_decision(
    done: str, tickers: Sequence[str], rule: str | None, count: int, *, json: bool
) -> None:
    if json:
        content = {"tickers": tickers, "rule": rule, "findings": count}
        print_json(f"data.quarantine.{done}", content)
        return
    of = ", ".join(tickers) or f"rule {rule}"
    print(f"{done:<9} {count:,} findings of {of}")
