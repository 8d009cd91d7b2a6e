"""Whether the version's forecasts are better than others by more than chance, and the verdict.

Shape letters: n scored rows, D days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecaster.evaluation.direction import DirectionTest, panel_direction
from forecaster.evaluation.multiple import (
    ConfidenceSet,
    Superiority,
    confidence_set,
    superior_ability,
)
from forecaster.evaluation.significance import Comparison, adjust, compare_losses, daily
from forecaster.pipeline.evaluating.card import UNITS, Card, Losses, losses_of, primary_loss

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
            _compare(card, losses, subject, rival, loss)
            for subject in card.subjects
            for rival in losses
            if rival not in card.subjects
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
    rival: str,
    loss: str,
    days: np.ndarray | None = None,
) -> Comparison:
    return compare_losses(
        losses[subject],
        losses[rival],
        card.days if days is None else days,
        target=card.target,
        forecaster=subject,
        rival=rival,
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
    squared = {c.rival: c for c in mine if c.loss == "MSE"}
    twins = [name for name in TWINS if name in card.forecasters]
    others = [name for name in squared if name not in twins]
    said = [squared[card.reference], *_best(squared, others, card, "MSE")]
    primary = primary_loss(card)
    judged = {c.rival: c for c in mine if c.loss == primary}
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
