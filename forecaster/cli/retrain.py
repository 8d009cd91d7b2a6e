"""`forecaster retrain`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.options import read_settings
from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    day,
    print_error,
    print_json,
    print_next,
)

if TYPE_CHECKING:
    from forecaster.operations.daily_run import SessionReport
    from forecaster.operations.retraining import Plan
    from forecaster.pipeline.retrain import RetrainReport


@command
def retrain_command(
    context: typer.Context,
    tickers: Annotated[
        list[str] | None, typer.Argument(metavar="TICKER", help="None: all in the store.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Model name that the champion is of [its targets].")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch/--no-fetch", help="Ask the source for what is missing.")
    ] = True,
    as_of: AsOfOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done; write nothing.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do every night that is due: fetch, check, forecast, score, and at times train and judge.

    A night is due once its sessions are final; the first run does the newest alone, later ones
    all since. What is done is not done again, so it may run at any hour, as often as one likes.
    --as-of replays up to a day, on the stored prices. Everything of a training that has no option
    here stands in forecaster.toml.

    Reads: the source, data/prices.db, forecaster.toml. Creates: bars, models/<version>/, rows in
    models/registry.db, a line in logs/forecaster.log.

    Example: forecaster retrain --as-of 2018-12-31
    """
    from forecaster.pipeline.retrain import retrain
    from forecaster.settings import resolve_home

    where = resolve_home(home)
    with _told(context.obj["retrain"]["on_failure"]) as teller:
        settings = read_settings(context, where)
        teller.command = settings.retrain.on_failure
        report = retrain(
            tickers or (),
            settings=settings,
            name=name,
            home=where,
            as_of=day(as_of),
            no_fetch=not fetch,
            dry_run=dry_run,
        )
        _show(report, json=json, quiet=quiet)
        if report.exit_code:
            print_error(report.reason)
            teller.tell(report.exit_code, report.reason)
            raise typer.Exit(report.exit_code)
        if not (json or quiet or dry_run):
            print_next("status", home)


class _Teller:
    """Whom to tell of a failure, and whether that was done."""

    def __init__(self, command: str) -> None:
        self.command = command

    def tell(self, code: int, reason: str) -> None:
        from forecaster.operations.run_log import tell_failure

        tell_failure(self.command, code, reason)


@contextmanager
def _told(on_failure: str | None) -> Iterator[_Teller]:
    """Tell the user's command of every error that leaves the block, bugs included."""
    from forecaster.errors import ExitCode, ForecasterError
    from forecaster.operations.run_log import words_of

    words_of(on_failure or "")  # an open quote is said before any work
    teller = _Teller(on_failure or "")
    try:
        yield teller
    except ForecasterError as error:
        teller.tell(error.exit_code, str(error))
        raise
    except PermissionError as error:
        teller.tell(ExitCode.CANNOT_WRITE, str(error))
        raise
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            teller.tell(ExitCode.IO_ERROR, str(error))
        raise
    except typer.Exit:
        raise
    except Exception as error:
        teller.tell(1, f"a bug: {type(error).__name__}: {error}")
        raise


def _show(report: "RetrainReport", *, json: bool, quiet: bool) -> None:
    if json:
        print_json("retrain", _content(report))
    elif quiet:
        return
    elif report.plan is not None:
        _print_plan(report.plan)
    else:
        for session in report.sessions:
            _print_night(session)
        if report.late:
            print(f"late    the last night's bars of {', '.join(report.late)}: forecast from now")
        elif not report.sessions:
            print("night   nothing to do")
        if report.waiting_for:
            print(f"waiting {report.waiting_for}: no bar of it has come yet")


def _content(report: "RetrainReport") -> dict[str, Any]:
    sessions = [
        {
            "night": one.session,
            "exit_code": one.exit_code,
            "reason": one.reason,
            **{k: v for k, v in one.summary().items() if k != "forecasts"},
            "forecasts": [] if one.forecasts is None else one.forecasts,
        }
        for one in report.sessions
    ]
    plan = report.plan
    return {
        "name": report.name,
        "nights": sessions,
        "late": report.late,
        "plan": None
        if plan is None
        else {
            "fetch": plan.fetch,
            "nights": plan.sessions,
            "expected": plan.expected,
            "champion": plan.champion,
            "judge": plan.judge,
            "train": plan.train,
        },
        "waiting_for": report.waiting_for,
        "exit_code": report.exit_code,
        "reason": report.reason,
    }


def _print_plan(plan: "Plan") -> None:
    if plan.fetch:
        print(f"fetch   {len(plan.fetch):,} tickers: {', '.join(plan.fetch[:5])}")
    for session in plan.sessions:
        print(f"night   {session}: would be done")
    for session in plan.expected:
        print(f"night   {session}: would be done if its bars come")
    if not plan.sessions and not plan.expected:
        print("night   nothing to do")
        return
    print(f"predict by {plan.champion}")
    if plan.judge:
        print(f"judge   {plan.judge}")
    print(f"train   {plan.train or 'not due'}")


def _print_night(session: "SessionReport") -> None:
    count = 0 if session.forecasts is None else len(session.forecasts)
    by = f" by {session.version}" if session.version else ""
    print(f"night   {session.session}  {count:,} forecasts{by}")
    for target, scores in session.scores.items():
        print(
            f"score   {target}: {scores['forecasts']:,.0f} forecasts, skill {scores['skill']:.2%}, "
            f"80 % held {scores['cover80']:.1%}, 95 % held {scores['cover95']:.1%}"
        )
    for reason in session.drift:
        print(f"drift   {reason}")
    for one in session.decided:
        print(f"{one.outcome:<7} {one.version or 'training'}: {one.reason}")
    if session.pruned:
        print(f"pruned  {len(session.pruned):,} versions")
