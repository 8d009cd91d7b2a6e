"""Score, compare and write down what forecasters of the same report days are worth.

Shape letters: n scored rows.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from forecaster.backtesting.evaluation import Judged
from forecaster.backtesting.scoring import (
    UNITS,
    Card,
    Losses,
    coverage_table,
    losses_of,
    pit_counts,
    primary_loss,
    score_table,
    seed_table,
    strategies,
    ticker_table,
)
from forecaster.data.panel import Panel
from forecaster.errors import name_some
from forecaster.evaluation.direction import DirectionTest, panel_direction
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.evaluation import EvaluationCount
from forecaster.evaluation.multiple_comparisons import (
    ConfidenceSet,
    Superiority,
    confidence_set,
    superior_ability,
)
from forecaster.evaluation.scores import alarms
from forecaster.evaluation.significance import Comparison, adjust, compare_losses, daily
from forecaster.forecasting.forecast_tables import forecast_table

TWINS = {
    "mlp-twin": "a network without memory",
    "linear-twin": "the linear model",
}


def comparison_list(card: Card, questions: int) -> tuple[Comparison, ...]:
    """Test every subject against every other forecaster, in each loss that both have.

    The comparisons in one loss are one family: Holm's adjustment over them, and as many such
    families as different questions were asked of these report days (Bonferroni).
    """
    found: list[Comparison] = []
    for loss in losses_of(card):
        losses = card.losses(loss)
        family = [
            _compare(card, losses, subject, benchmark, loss)
            for subject in card.subjects
            for benchmark in losses
            if benchmark not in card.subjects
        ]
        found += [_asked(each, questions) for each in adjust(family)]
    return tuple(found)


def ticker_comparisons(card: Card, questions: int) -> tuple[tuple[str, Comparison], ...]:
    """Test the version against "tomorrow = today" on each ticker; Holm over tickers."""
    losses, tickers, found = card.losses("MSE"), [], []
    for number in np.unique(card.series):
        mine = card.series == number
        part = {name: values[mine] for name, values in losses.items()}
        tickers.append(card.panel.tickers[number])
        found.append(_compare(card, part, card.own, card.reference, "MSE", card.days[mine]))
    adjusted = [_asked(each, questions) for each in adjust(found)]
    return tuple(zip(tickers, adjusted, strict=True))


def _compare(
    card: Card,
    losses: Losses,
    subject: str,
    benchmark: str,
    loss: str,
    days: np.ndarray | None = None,
) -> Comparison:
    return compare_losses(
        losses[subject],
        losses[benchmark],
        card.days if days is None else days,
        target=card.target,
        forecaster=subject,
        benchmark=benchmark,
        loss=loss,
        unit=UNITS[loss],
    )


def _asked(each: Comparison, questions: int) -> Comparison:
    if each.adjusted is None:
        return each
    raised = min(each.adjusted * questions, 1.0)
    return replace(each, adjusted=raised, comparisons=each.comparisons * questions)


def many_tests(card: Card) -> tuple[Superiority, ConfidenceSet]:
    """Ask whether any forecaster beats "tomorrow = today", and which may be the best.

    In the primary loss for the confidence set, in squared error for the former; on the rows
    that all of them forecast.
    """
    squared = _daily_losses(card, "MSE")
    primary = primary_loss(card)
    judged = squared if primary == "MSE" else _daily_losses(card, primary)
    return superior_ability(squared, card.reference), confidence_set(judged)


def _daily_losses(card: Card, loss: str) -> Losses:
    """Average by day what all forecast; who forecasts under half of the rows is left out."""
    losses = {n: v for n, v in card.losses(loss).items() if 2 * np.isfinite(v).sum() >= len(v)}
    known = np.isfinite(np.column_stack(list(losses.values()))).all(axis=1)
    return {name: daily(values[known], card.days[known]) for name, values in losses.items()}


def direction_tests(card: Card) -> dict[str, DirectionTest]:
    """Test the sides that the subjects take, by name."""
    reference = card.forecasters[card.reference].mean()
    moved = card.y - reference
    return {
        name: panel_direction(card.forecasters[name].mean() - reference, moved, card.days)
        for name in card.subjects
    }


def verdicts(card: Card, comparisons: Sequence[Comparison], looks: int | None) -> tuple[str, ...]:
    """Say plainly how the version stands, the most important first.

    Against "tomorrow = today"; against the best of the other baselines; for distributions,
    against the best rival that has one; and, whatever it shows, against its two twins, which
    tell what recurrence adds.
    """
    mine = [c for c in comparisons if c.forecaster == card.own]
    squared = {c.benchmark: c for c in mine if c.loss == "MSE"}
    twins = [name for name in TWINS if name in card.forecasters]
    others = [name for name in squared if name not in twins]
    said = [squared[card.reference], *_best(squared, others, card, "MSE")]
    primary = primary_loss(card)
    judged = {c.benchmark: c for c in mine if c.loss == primary}
    if primary != "MSE":
        said += _best(judged, [name for name in judged if name not in twins], card, primary)
    sentences = [f"{one.sentence}{_look(looks)}" for one in dict.fromkeys(said)]
    for name in twins:
        sentences.append(_of_twin(judged.get(name) or squared[name], card.own, name))
    return tuple(sentences)


def _best(
    found: Mapping[str, Comparison], names: Sequence[str], card: Card, loss: str
) -> list[Comparison]:
    """Give the comparison with the rival that loses least."""
    losses = card.losses(loss)
    known = {name: float(np.nanmean(losses[name])) for name in names}
    return [found[min(known, key=known.__getitem__)]] if known else []


def _look(looks: int | None) -> str:
    return "" if looks is None else f", look {looks:,} at these days"


def _of_twin(one: Comparison, own: str, name: str) -> str:
    """Say what recurrence (or a network that has none) adds over a twin on the same inputs."""
    what = "the network" if own == "mlp" else "recurrence"
    words = {
        "better": "adds something over",
        "worse": "does harm beside",
        "not distinguishable": "adds nothing that can be told from chance over",
    }
    return f"{what} {words[one.verdict]} {TWINS[name]} on the same inputs: {one.sentence}"


log = logging.getLogger(__name__)

Seeds = Mapping[int, Sequence[Predictive]]


def judge(
    cards: Mapping[str, Card], seeds: Seeds, looks: EvaluationCount, costs_bps: float
) -> Judged:
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
        verdicts={t: verdicts(card, comparisons[t], looks.total) for t, card in cards.items()},
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
            log.warning("%s: no report day can be scored for %s", name_some(tickers), target)
    return {target: tickers for target, tickers in found.items() if tickers}
