"""Search settings on training and validation days: prices -> panel -> trials of a study."""

from collections.abc import Sequence
from pathlib import Path

from forecaster import clock
from forecaster.clock import Day
from forecaster.data.loading import Bars
from forecaster.errors import UsageError
from forecaster.forecasting.data_set import training_panel
from forecaster.forecasting.tuning import Study, TuneResult, read_space, search
from forecaster.registry.registry_file import check_name
from forecaster.registry.versions import check_writable
from forecaster.settings import Home, TrainSettings, resolve_home
from forecaster.training.inference import choose_device

__all__ = ["TuneResult", "tune"]


def tune(
    bars: Bars | None = None,
    *,
    settings: TrainSettings | None = None,
    trials: int = 30,
    space: Path | None = None,
    study: str | None = None,
    tickers: str | Sequence[str] = (),
    home: Home | None = None,
    as_of: Day | None = None,
) -> TuneResult:
    """Search for better settings by their validation loss; the test days are not read.

    Args:
        bars: as for `train`.
        settings: those of all trials, where the space does not choose.
        trials: how many the study has in the end, earlier ones counted.
        space: a TOML file with a table for each setting that is searched; None for a space of
            sizes, rates and dropout.
        study: its name; None for the targets'. The same name continues it.
        tickers: none means all there are.
        home: the workspace, where `models/tuning/` keeps the study.
        as_of: last session to be seen; None for all.

    Raises:
        CannotWriteError: the home is missing or read-only.
        DataError, UnknownNameError: see `train`.
        DivergedError: not one trial was finished.
        UsageError: the space or the study does not fit, or the extra `tune` is not installed.
    """
    settings = settings or TrainSettings()
    if settings.bptt_k2 == "auto":
        raise UsageError("--bptt-k2 auto would be measured in each trial; use a number of days.")
    name = check_name(study or "-".join(settings.targets))
    where, last = resolve_home(home), clock.as_day(as_of)
    chosen = read_space(space, settings)
    check_writable(where)
    panel, fingerprint, _ = training_panel(bars, where, tickers, last, settings)
    path = where / "models" / "tuning" / f"{name}.journal"
    found = Study(path=path, base=settings, space=chosen, fingerprint=fingerprint, trials=trials)
    return search(found, panel, choose_device(settings.device))
