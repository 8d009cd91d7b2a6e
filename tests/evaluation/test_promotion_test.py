"""The promotion test: not worse than a margin, calibrated, finite; and how often it errs."""

import json
import re
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from forecaster.evaluation.calibration import coverage_error
from forecaster.evaluation.promotion_test import PromotionResult, Trial, promotion_test
from forecaster.evaluation.significance import newey_west_error, newey_west_t

DAYS = np.arange(126)


def trial(
    challenger: np.ndarray,
    champion: np.ndarray | None = None,
    *,
    days: np.ndarray = DAYS,
    inside: Mapping[float, np.ndarray] | None = None,
) -> Trial:
    """Judge against a champion, by default one of the same losses, and a baseline twice as bad."""
    champion = challenger if champion is None else champion
    benchmarks = {"champion": champion, "baseline": np.full(len(days), 2.0)}
    return Trial(
        target="return",
        loss="CRPS",
        days=days,
        challenger=challenger,
        benchmarks=benchmarks,
        inside=inside or {},
    )


def hits(share: float, count: int = 126) -> np.ndarray:
    """Spread hits evenly, so that no day clusters with the next."""
    steps = np.floor(np.arange(count + 1) * share + 1e-9)
    return np.diff(steps)


def noisy(excess: float, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses of mean 1 whose difference has exactly this mean and standard error."""
    draw = np.random.default_rng(seed)
    champion = 1.0 + 0.3 * draw.random(126)
    champion /= champion.mean()
    gap = draw.normal(size=126)
    gap -= gap.mean()
    return champion + excess + gap * spread / newey_west_error(gap), champion


def decision_on(*trials: Trial, **options: object) -> PromotionResult:
    return promotion_test(trials, **options)  # type: ignore[arg-type]


def test_the_upper_bound_by_hand():
    """Half a percent worse with an error of a third of one: 0.5 + 1.2885 / 3 = 0.93 %."""
    challenger, champion = noisy(0.005, 1 / 300)
    found = decision_on(trial(challenger, champion))
    numbers = found.evidence["targets"]["return"]["against"]["champion"]
    expected = 0.005 + stats.t.ppf(0.9, 125) / 300
    assert numbers["upper"] == pytest.approx(expected) and expected < 0.01
    assert found.promoted and found.able
    assert "CRPS +0.50% against champion, at most +0.93%" in found.reason


@pytest.mark.parametrize(
    ("excess", "spread", "promoted"),
    [
        (0.0, 1e-6, True),  # equal
        (0.009, 1e-6, True),  # worse, but surely by less than the margin
        (0.011, 1e-6, False),  # surely worse by more
        (0.0, 0.02, False),  # perhaps worse by more: unknown
        (-0.02, 0.02, True),  # better, and unlikely to be that much worse
    ],
)
def test_what_counts_is_how_bad_it_may_be(excess: float, spread: float, promoted: bool):
    found = decision_on(trial(*noisy(excess, spread)))
    assert found.promoted is promoted and found.able


def test_the_baseline_must_be_matched_too():
    """A champion that has itself fallen behind is no measure."""
    challenger, champion = noisy(0.0, 1e-6)
    found = decision_on(trial(2.1 * challenger, 2.1 * champion))
    assert not found.promoted and found.able
    assert "against baseline" in found.reason and "champion" not in found.reason


def test_one_bad_target_is_enough():
    good, bad = trial(np.ones(126)), trial(np.full(126, 1.2), np.ones(126))
    assert decision_on(good).promoted
    assert not decision_on(good, bad).promoted


def test_two_hundred_tickers_with_one_shock_are_one_observation_a_day():
    """Repeating each row by ticker changes neither the bound nor the decision."""
    challenger, champion = noisy(0.004, 0.02)
    alone = decision_on(trial(challenger, champion))
    many = Trial(
        target="return",
        loss="CRPS",
        days=np.repeat(DAYS, 200),
        challenger=np.repeat(challenger, 200),
        benchmarks={"champion": np.repeat(champion, 200), "baseline": np.full(126 * 200, 2.0)},
        inside={},
    )
    against = [
        found.evidence["targets"]["return"]["against"] for found in (alone, decision_on(many))
    ]
    assert against[0]["champion"]["upper"] == pytest.approx(against[1]["champion"]["upper"])


@pytest.mark.parametrize(
    ("coverage", "share", "good"),
    [
        *[(0.8, 0.79, True), (0.8, 0.72, True), (0.8, 0.6, False), (0.8, 1.0, False)],
        *[(0.95, 0.96, True), (0.95, 0.85, False), (0.95, 1.0, True)],
    ],
)
def test_intervals_must_have_their_nominal_coverage(coverage: float, share: float, good: bool):
    """On one ticker chance alone moves 80 % by nine points, and 95 % by five."""
    found = decision_on(trial(np.ones(126), inside={coverage: hits(share)}))
    assert found.promoted is good
    if not good:
        came = hits(share).mean()
        assert f"the {coverage:.0%} interval covered {came:.1%} of 126 outcomes" in found.reason


def test_a_crisis_that_all_tickers_miss_together_is_one_event():
    """Ten tickers missing on the same ten days: forbidden to a binomial, allowed to clusters."""
    together = np.ones((126, 10))
    together[60:90:2] = 0.0
    share, error = coverage_error(together.ravel(), np.repeat(DAYS, 10), 0.95)
    apart = np.random.default_rng(0).permutation(together.ravel())
    same, less = coverage_error(apart, np.repeat(DAYS, 10), 0.95)
    assert share == pytest.approx(same) and error > 2 * less


def test_missing_intervals_are_no_intervals():
    found = decision_on(trial(np.ones(126), inside={0.8: np.full(126, np.nan)}))
    assert not found.promoted and "no 80% interval" in found.reason


def test_forecasts_that_are_not_finite_are_refused_not_skipped():
    losses = np.ones(126)
    losses[7] = np.nan
    found = decision_on(trial(losses, np.ones(126)))
    assert not found.promoted and found.able and "1 of 126 forecasts are not finite" in found.reason


def test_a_flaw_is_enough():
    found = decision_on(trial(np.ones(126)), flaws=["it does not reproduce"])
    assert not found.promoted and found.able and found.reason == "it does not reproduce"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (trial(np.ones(62), days=np.arange(62)), "62 days .* 63 are needed"),
        (trial(np.ones(126), np.full(126, np.nan)), "champion has no finite CRPS"),
        (trial(np.zeros(126)), "champion has no error at all"),
        (trial(np.ones(0), days=np.arange(0)), "0 days"),
    ],
)
def test_what_cannot_be_tested_is_not_promoted(case: Trial, words: str):
    found = decision_on(case)
    assert not found.able and not found.promoted
    assert re.search(words, found.reason)
    assert not decision_on().able


def test_the_evidence_is_json_of_numbers():
    losses = np.ones(126)
    losses[3] = np.inf
    for case in (trial(np.ones(126), inside={0.8: hits(0.8)}), trial(losses), trial(np.ones(5))):
        if len(case.challenger) == len(case.days):
            json.dumps(decision_on(case).evidence, allow_nan=False)


def test_the_error_behind_the_bound_is_that_of_the_test():
    gap = np.random.default_rng(3).normal(0.1, 1.0, 80)
    assert newey_west_t(gap) == pytest.approx(gap.mean() / newey_west_error(gap))
    assert newey_west_error(np.ones(50)) == 0.0 and np.isnan(newey_west_error(np.ones(2)))


def test_the_promotion_test_errs_as_often_as_its_confidence_says():
    """At the margin itself one in ten passes; an equal one nearly always, of this noise."""
    draw = np.random.default_rng(1)
    passed = {0.0: 0, 0.01: 0, 0.02: 0}
    for _ in range(300):
        base = 1.0 + 0.5 * draw.random(126)
        base /= base.mean()
        noise = draw.normal(0.0, 0.04, 126)
        for excess in passed:
            passed[excess] += decision_on(trial(base + excess + noise, base)).promoted
    assert passed[0.0] > 270 and 15 < passed[0.01] < 50 and passed[0.02] == 0
