"""Pass rates of the promotion test for challengers equal to the champion, or known to be worse.

Usage: python -m benchmarks.promotion_test [--worlds 2000]

Returns are drawn around volatilities that follow an autoregression; forecasters know these up to a
noise of their own, an autoregression too. A worse one has more noise, so that its expected CRPS is
worse by a given share. Prints Markdown. Four minutes.
"""

import argparse

import numpy as np

from forecaster.evaluation.distributions import StudentT
from forecaster.evaluation.promotion_test import Trial, promotion_test

DAYS, DF = 126, 6.0
UNIT = np.sqrt(1.0 - 2.0 / DF)
WORSE = (0.0, 0.005, 0.01, 0.02, 0.05)
NOISES = {"the same recipe, trained again": 0.06, "another recipe": 0.18}
BASELINE_NOISE = 0.26


def wander(draw: np.random.Generator, shape: tuple[int, ...], rho: float, sd: float) -> np.ndarray:
    """Draw an AR(1) of a deviation along the second axis."""
    values = draw.normal(0.0, sd, shape)
    for day in range(1, shape[1]):
        values[:, day] = rho * values[:, day - 1] + np.sqrt(1.0 - rho * rho) * values[:, day]
    return values


def worlds(draw: np.random.Generator, count: int, tickers: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw log volatilities and returns, (count, DAYS, tickers) each; shocks are partly shared."""
    shape = (count, DAYS, tickers)
    log_volatility = np.log(0.015) + wander(draw, (*shape[:2], 1), 0.97, 0.35)
    log_volatility = log_volatility + wander(draw, shape, 0.97, 0.15)
    shared, own = draw.standard_normal((*shape[:2], 1)), draw.standard_normal(shape)
    wide = np.sqrt(draw.chisquare(DF, (*shape[:2], 1)) / DF)
    shocks = (np.sqrt(0.35) * shared + np.sqrt(0.65) * own) / wide * UNIT
    return log_volatility, np.exp(log_volatility) * shocks


def losses(log_volatility: np.ndarray, noise: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Score forecasts of the volatility up to a noise."""
    scale = (np.exp(log_volatility + noise) * UNIT).ravel()
    stated = StudentT(np.zeros(scale.size), scale, np.full(scale.size, DF))
    return stated.crps(y.ravel()).reshape(y.shape)


def noise_for(worse: float, base: float) -> float:
    """Find the noise whose expected CRPS is worse by a share than that of a base noise."""
    draw = np.random.default_rng(1)
    log_volatility, y = worlds(draw, 400, 10)
    z = draw.standard_normal(y.shape)
    reference = losses(log_volatility, base * z, y).mean()
    low, high = base, 1.5
    for _ in range(18):
        middle = (low + high) / 2.0
        below = losses(log_volatility, middle * z, y).mean() / reference - 1.0 < worse
        low, high = (middle, high) if below else (low, middle)
    return low


def promoted(count: int, tickers: int, base: float, own: float) -> tuple[float, float]:
    """Return the share promoted, and the median error of the difference as share of the loss."""
    draw = np.random.default_rng(tickers)
    log_volatility, y = worlds(draw, count, tickers)
    champion, challenger, baseline, horizon = (
        wander(draw, y.shape, 0.9, sd) for sd in (base, own, BASELINE_NOISE, base)
    )
    sides = [losses(log_volatility, noise, y) for noise in (challenger, champion, baseline)]
    # Intervals adapt to a noise that lasts, so that they are those of the base.
    ends = StudentT(np.zeros(1), np.full(1, UNIT), np.full(1, DF)).quantile([0.9, 0.975])[0]
    away, days = np.abs(y) / np.exp(log_volatility + horizon), np.repeat(np.arange(DAYS), tickers)
    passed, errors = 0, []
    for number in range(count):
        own_loss, champions, baselines = (side[number].ravel() for side in sides)
        inside = {0.8: away[number] < ends[0], 0.95: away[number] < ends[1]}
        trial = Trial(
            target="return",
            loss="CRPS",
            days=days,
            challenger=own_loss,
            benchmarks={"champion": champions, "baseline": baselines},
            inside={name: is_in.ravel().astype(float) for name, is_in in inside.items()},
        )
        found = promotion_test([trial])
        against = found.evidence["targets"]["return"]["against"]["champion"]
        passed += found.promoted
        errors.append((against["upper"] - against["difference"]) / 1.29)
    return passed / count, float(np.median(errors))


def main() -> None:
    """Print the table of `docs/method.md`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=2000)
    count = parser.parse_args().worlds
    print("| challenger | tickers | error |" + "".join(f" {one:.1%} worse |" for one in WORSE))
    print("|---|---|---|" + "---|" * len(WORSE))
    for label, base in NOISES.items():
        for tickers in (1, 10, 50):
            found = [
                promoted(count if tickers < 50 else count // 5, tickers, base, noise_for(one, base))
                for one in WORSE
            ]
            cells = " | ".join(f"{share:.1%}" for share, _ in found)
            print(f"| {label} | {tickers} | {found[0][1]:.2%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
