"""Score, compare and write down what forecasters of the same report days are worth.

Shape letters: n scored rows.
"""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from forecaster.data.panel import Panel
from forecaster.evaluation.alarms import alarms
from forecaster.evaluation.distributions import Predictive
from forecaster.pipeline.evaluating.card import Card
from forecaster.pipeline.evaluating.compared import (
    comparison_list,
    direction_tests,
    many_tests,
    ticker_comparisons,
    verdicts,
)
from forecaster.pipeline.evaluating.evaluation import Judged
from forecaster.pipeline.evaluating.looks import Looks
from forecaster.pipeline.evaluating.scorecard import (
    coverage_table,
    pit_counts,
    score_table,
    seed_table,
    strategies,
    ticker_table,
)
from forecaster.pipeline.table import forecast_table, some

log = logging.getLogger(__name__)

Seeds = Mapping[int, Sequence[Predictive]]


def judge(cards: Mapping[str, Card], seeds: Seeds, looks: Looks, costs_bps: float) -> Judged:
    """Score every target's forecasters, test them against each other, find the words.

    Args:
        cards: by target.
        seeds: by seed, N forecasts of each of the panel's targets.
        looks: at these report days.
        costs_bps: of the strategy, per side.
    """
    questions = looks.questions or 1
    comparisons = {target: comparison_list(card, questions) for target, card in cards.items()}
    pooled = _joined([score_table(card) for card in cards.values()])
    many = {target: many_tests(card) for target, card in cards.items()}
    forecasts = _joined([_table(card) for card in cards.values()])
    return Judged(
        verdicts={t: verdicts(card, comparisons[t], looks.all) for t, card in cards.items()},
        scores=pooled,
        per_ticker=_joined([ticker_table(card) for card in cards.values()]),
        seeds=_joined([_seeds(card, seeds) for card in cards.values()]),
        coverage=_joined([coverage_table(card) for card in cards.values()]),
        forecasts=forecasts,
        comparisons=tuple(one for found in comparisons.values() for one in found),
        ticker_comparisons={t: ticker_comparisons(c, questions) for t, c in cards.items()},
        superiority={target: one for target, (one, _) in many.items()},
        confidence_sets={target: one for target, (_, one) in many.items()},
        direction={target: direction_tests(card) for target, card in cards.items()},
        strategies={t: strategies(c, costs_bps) for t, c in cards.items() if t == "return"},
        pit={target: pit_counts(card) for target, card in cards.items()},
        costs_bps=costs_bps,
        alarms=tuple(alarms(pooled[pooled["value"].notna()])),
        unscored=_unscored(next(iter(cards.values())).panel, forecasts, tuple(cards)),
    )


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    # Objects: a column of one part may be all None, which pandas would make NaN.
    return pd.concat([part.astype(object) for part in parts], ignore_index=True).infer_objects()


def _seeds(card: Card, seeds: Seeds) -> pd.DataFrame:
    k = card.panel.targets.index(card.target)
    return seed_table(card, {seed: parts[k].take(card.rows) for seed, parts in seeds.items()})


def _table(card: Card) -> pd.DataFrame:
    """Write every forecaster's rows, with the intervals that are calibrated or stated."""
    parts = [
        forecast_table(card.panel, card.target, name, forecast, card.rows, card.intervals.get(name))
        for name, forecast in card.forecasters.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[table["forecast"].notna()].reset_index(drop=True)


def _unscored(
    panel: Panel, forecasts: pd.DataFrame, targets: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Name, by target, the tickers without a scored report day."""
    scored = forecasts.groupby("target")["ticker"].unique()
    found = {name: tuple(t for t in panel.tickers if t not in scored[name]) for name in targets}
    for target, tickers in found.items():
        if tickers:
            log.warning("%s: no report day can be scored for %s", some(tickers), target)
    return {target: tickers for target, tickers in found.items() if tickers}
