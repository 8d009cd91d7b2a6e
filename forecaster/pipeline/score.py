"""Past forecasts against what came: live error and coverage beside what was promised."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import normalise_tickers
from forecaster.errors import ArtifactError, UnknownNameError
from forecaster.evaluation.live_scores import LIVE_COLUMNS, live_scores
from forecaster.operations.forecast_recording import with_outcomes
from forecaster.registry.versions import list_versions, read_manifest
from forecaster.settings import Home, resolve_home

SCORE_COLUMNS: Final = ("made", "name", "target", "version", *LIVE_COLUMNS, "promised_mse")
ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What past forecasts were worth.

    `table` (SCORE_COLUMNS) has a row per version and, where a name has had several, one of all;
    `made` is `live`, or `late` for forecasts made after their session had closed, which prove
    nothing. `per_ticker` has the live ones by ticker. `promised_mse` is the version's on its
    select block, NaN of the baseline; the intervals promised 80 and 95 %. `waiting` forecasts
    have no outcome yet, `lost` ones have none although a later bar is there. `forecasts` are the
    scored rows themselves.
    """

    table: pd.DataFrame
    per_ticker: pd.DataFrame
    forecasts: pd.DataFrame
    waiting: int
    lost: int


def score(
    tickers: str | Sequence[str] = (),
    *,
    home: Home | None = None,
    name: str | None = None,
    since: date | None = None,
    as_of: date | None = None,
) -> Score:
    """Hold the ledger's forecasts against the stored bars.

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
    return scored(where, rows)


def scored(home: Path, rows: pd.DataFrame) -> Score:
    """Score rows of the ledger that carry their outcomes (see `with_outcomes`)."""
    known = rows["actual"].notna() & rows["persistence"].notna()
    passed = ~known & (rows["session"] <= rows["newest"])
    found = rows[known].assign(made=np.where(rows.loc[known, "late"], "late", "live"))
    table = live_scores(found, ("made", "name", "target", "version"))
    counts = table.groupby(["made", "name", "target"])["version"].transform("size")
    several = found.merge(
        table.loc[counts > 1, ["made", "name", "target"]].drop_duplicates(),
        on=["made", "name", "target"],
    )
    pooled = live_scores(several.assign(version=ALL), ("made", "name", "target", "version"))
    both = pd.concat([part for part in (table, pooled) if len(part)] or [table], ignore_index=True)
    both["promised_mse"] = [
        promised_mse(home, str(version), str(target))
        for version, target in zip(both["version"], both["target"], strict=True)
    ]
    ordered = both.sort_values(["made", "name", "target", "version"], ignore_index=True)
    live = found[found["made"] == "live"]
    return Score(
        table=ordered[list(SCORE_COLUMNS)],
        per_ticker=live_scores(live, ("name", "target", "ticker")),
        forecasts=found,
        waiting=int((~known & ~passed).sum()),
        lost=int(passed.sum()),
    )


def promised_mse(home: Path, version: str, target: str) -> float:
    """Read a version's error on its select block; NaN of the baseline, or of a version gone."""
    if version not in list_versions(home):
        return float("nan")
    try:
        metrics = read_manifest(home, version).metrics
    except ArtifactError:
        return float("nan")
    return metrics.get(f"validation_mse_{target}", float("nan"))
