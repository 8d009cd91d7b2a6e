"""`forecaster score`: past forecasts compared with their outcomes."""

from collections.abc import Sequence
from datetime import date

from forecaster.data.history import normalise_tickers
from forecaster.errors import UnknownNameError
from forecaster.operations.scoring import ALL, SCORE_COLUMNS, LiveScores, score_rows, with_outcomes
from forecaster.settings import Home, resolve_home

__all__ = ["ALL", "SCORE_COLUMNS", "LiveScores", "score"]


def score(
    tickers: str | Sequence[str] = (),
    *,
    home: Home | None = None,
    name: str | None = None,
    since: date | None = None,
    as_of: date | None = None,
) -> LiveScores:
    """Score the recorded forecasts whose outcomes are stored.

    Args:
        tickers: which; none means all.
        home: the workspace; None as the command line resolves it.
        name: of one model name; None for all.
        since: only forecasts made as of this day or later.
        as_of: as if this were the last day known.

    Raises:
        UnknownNameError: no forecast was ever made, or none of these, or nothing is stored.
    """
    where, wanted = resolve_home(home), normalise_tickers(tickers)
    rows = with_outcomes(where, name, since=since, until=as_of)
    if wanted:
        rows = rows[rows["ticker"].isin(wanted)]
    if rows.empty:
        raise UnknownNameError(
            f"No forecast{f' of {name}' if name else ''} under {where / 'models'}"
            f"{' of these tickers' if wanted else ''}{f' since {since}' if since else ''}; "
            "run: forecaster predict, or forecaster retrain"
        )
    return score_rows(where, rows)
