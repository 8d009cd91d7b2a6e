"""Results of an evaluation in words, for the terminal, the page and JSON."""

import math

from forecaster.evaluation.evaluation import Evaluation, TargetEvaluation
from forecaster.evaluation.scores import Alarm
from forecaster.evaluation.significance import MIN_DAYS, Comparison, ConfidenceSet, SpaTest

ACRONYMS = ("lstm", "gru", "rnn", "mlp", "har", "ar", "garch", "egarch", "ewma")
METRICS = {"skill": "R² over the naive forecast", "directional_accuracy": "directional accuracy"}


def label(name: str) -> str:
    """Return a forecaster's name as written in prose, such as "LSTM" or "zero return"."""
    stem = name.rstrip("0123456789").split("-")[0]
    if stem in ACRONYMS:
        return name.replace(stem, stem.upper(), 1).replace("-x", "-X" if stem == "har" else "-x")
    return name.replace("-", " ")


def percent(share: float, form: str = ".1f") -> str:
    """Return a share in per cent, such as "80.3 %"."""
    return f"{100.0 * share:{form}} %"


def p_text(p_value: float) -> str:
    """Return a p-value, such as "p = 0.28" or "p < 0.001"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def title(evaluation: Evaluation) -> str:
    """Return what was evaluated: network, number of tickers, targets and test days."""
    parts = list(evaluation.by_target.values())
    tickers = len(set().union(*(part.rows.scored for part in parts)))
    targets = evaluation.targets
    listed = ", ".join(targets[:-1]) + " and " + targets[-1] if len(targets) > 1 else targets[0]
    first, last = evaluation.blocks["test"]
    noun = "ticker" if tickers == 1 else "tickers"
    return f"{label(parts[0].forecaster)} on {tickers:,} {noun}: {listed}, test {first} to {last}"


def conclusions(evaluation: Evaluation, target: str) -> list[str]:
    """Return a target's conclusions, the most important first; last what recurrence gains."""
    found, total = evaluation.by_target[target].comparisons, evaluation.count.total
    main = [compared(one, total) for one in found.main]
    return main + [recurrence_gain(one) for one in found.same_inputs]


def compared(one: Comparison, evaluations: int | None = None) -> str:
    """Return a comparison's conclusion with the numbers that it rests on."""
    pair = f"{label(one.forecaster)} vs {label(one.benchmark)}"
    if math.isnan(one.p_value) and one.difference == 0.0:
        return f"{pair}: same forecasts"
    if math.isnan(one.p_value):
        untested = "too few for a test" if one.days < MIN_DAYS else "the same on each: no test"
        return f"{pair}: {difference(one)} over {_days(one)}, {untested}"
    significantly = "" if one.conclusion == "no significant difference" else "significantly "
    return f"{pair}: {significantly}{one.conclusion} ({_evidence(one, evaluations)})"


def recurrence_gain(one: Comparison) -> str:
    """Return what recurrence, or a network without it, gains over a benchmark on its inputs."""
    what = "the network" if one.forecaster == "mlp" else "recurrence"
    if math.isnan(one.p_value):
        return compared(one)
    words = {
        "better": f"significant gain from {what} over",
        "worse": f"significant loss from {what} against",
        "no significant difference": f"no significant gain from {what} over",
    }[one.conclusion]
    other = {"mlp": "an MLP", "linear": "the linear model"}[one.benchmark]
    return f"{words} {other} with the same inputs ({_evidence(one, None)})"


def difference(one: Comparison) -> str:
    """Return the difference of mean losses, such as "MSE 5.5 % lower"."""
    if not math.isfinite(one.difference):
        return f"{one.loss} not comparable"
    side, size = "higher" if one.difference > 0.0 else "lower", abs(one.difference)
    if one.unit:
        return f"{one.loss} {size:.4f} {one.unit} {side}"
    digits = 2 if size < 0.01 else 1 if size < 0.1 else 0
    return f"{one.loss} {percent(size, f'.{digits}f')} {side}"


def _evidence(one: Comparison, evaluations: int | None) -> str:
    test = f"Diebold–Mariano {p_text(one.decisive_p_value)}"
    if one.adjusted_p_value is not None:
        test += f", Holm over {one.tests:,} test" + "s" * (one.tests != 1)
    counted = "" if evaluations is None else f"; test-set evaluation {evaluations:,}"
    return f"{difference(one)}, {test}; {_days(one)}{counted}"


def _days(one: Comparison) -> str:
    return f"{one.days:,} day" + "s" * (one.days != 1)


def mcs_text(found: ConfidenceSet) -> str:
    """Return the forecasters of a model confidence set."""
    if found.reason:
        return f"undefined: {found.reason}"
    return f"{', '.join(map(label, found.included))} ({percent(1.0 - found.size, '.0f')} level)"


def spa_text(found: SpaTest) -> str:
    """Return the result of a test for superior predictive ability."""
    if found.p_value is None:
        return f"undefined: {found.reason}"
    pair = f"best of {found.forecasters} forecasters vs {label(found.benchmark)}"
    return f"{pair}: {p_text(found.p_value)}"


def alarm_text(alarm: Alarm) -> str:
    """Return a warning of a score that is too good to be true."""
    return (
        f"{label(alarm.forecaster)}: {METRICS[alarm.metric]} of {percent(alarm.value, '.2f')} on "
        f"daily returns is above {percent(alarm.level, '.0f')}; assume a leak until explained."
    )


def coverage_texts(part: TargetEvaluation) -> list[str]:
    """Return the coverage of each interval, nominal and by ticker."""
    table = part.coverage[part.coverage["forecaster"] == part.forecaster]
    lines = []
    for (kind, _), rows in table.groupby(["intervals", "nominal"], sort=False):
        pooled = rows[rows["by"] == "all"].iloc[0]
        each = rows[rows["by"] == "ticker"]["coverage"]
        ends = f" ({100 * each.min():.1f}–{percent(each.max())} by ticker)" if len(each) > 1 else ""
        score = f"interval score {pooled['interval_score']:#.3g}"
        score += ", uncalibrated" if kind == "uncalibrated" else ""
        nominal = percent(pooled["nominal"], ".0f")
        lines.append(f"{nominal}: {percent(pooled['coverage'])}{ends}, {score}")
    return lines


def direction_text(part: TargetEvaluation) -> str:
    """Return the result of the test of directional accuracy."""
    found = part.direction[part.forecaster]
    if found.accuracy is None or found.expected_by_chance is None or found.p_value is None:
        return f"undefined: {found.reason}"
    return (
        f"directional accuracy {percent(found.accuracy)}, {percent(found.expected_by_chance)} "
        f"expected by chance, Pesaran–Timmermann {p_text(found.p_value)}"
    )


def backtest_texts(part: TargetEvaluation, costs_bps: float) -> list[str]:
    """Return the outcome of the backtest, beside that of the mean."""
    lines = []
    names = {part.forecaster: "", "mean": "for comparison by the mean, mostly buy and hold: "}
    for name, prefix in names.items():
        found = part.backtests.get(name)
        if found is None:
            continue
        if found.sharpe_ratio is None or found.volatility is None:
            lines.append(f"{prefix}undefined: {found.reason}")
            continue
        lines.append(
            f"{prefix}annualised return {percent(found.annualised_return or 0.0)}, volatility "
            f"{percent(found.volatility)}, Sharpe ratio {found.sharpe_ratio:.2f}, maximum drawdown "
            f"{percent(found.maximum_drawdown or 0.0)}, turnover "
            f"{percent(found.turnover or 0.0, '.0f')} a day, costs {costs_bps:g} bps per side"
        )
    return lines


def seed_texts(part: TargetEvaluation) -> list[str]:
    """Return the spread of the main scores over seeds."""
    table = part.scores_by_seed[part.scores_by_seed["seeds"] > 1]
    table = table[table["metric"].isin(["mse", "crps", "log_score"])]
    return [
        f"{row.seeds}: {row.metric} mean {row.mean:.6g}, standard deviation {row.sd:.2g}, range "
        f"{row.min:.6g} to {row.max:.6g}"
        for row in table.itertuples()
    ]
