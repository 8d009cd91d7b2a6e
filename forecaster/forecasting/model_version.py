"""A fitted model as a registered version, and back: its manifest, its weights, its prices.

Shape letters: K targets, R raw outputs of all targets together.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

import forecaster
from forecaster.data.history import OWN_NAME, History, fingerprint
from forecaster.data.loading import Bars, known_tickers, load_known, read_bars
from forecaster.data.panel import TARGETS, own_targets
from forecaster.data.scaling import Scaler
from forecaster.errors import ArtifactError, DataError, name_some
from forecaster.evaluation.quantiles import LEVELS
from forecaster.evaluation.splits import Split
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Dataset
from forecaster.forecasting.fitted_model import (
    FittedModel,
    InputReader,
    Weights,
    check_shapes,
    set_weights,
)
from forecaster.forecasting.fitting import FitResult, architecture_of
from forecaster.models.heads import Form, form_of
from forecaster.models.network import Architecture, Network, build_network
from forecaster.registry.manifest import (
    BasePart,
    BlocksPart,
    DataPart,
    Manifest,
    MemberPart,
    NetworkPart,
    ScalerPart,
)
from forecaster.registry.versions import load_weights
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)


def make_manifest(
    dataset: Dataset, settings: TrainSettings, bars_hash: str, fit: FitResult, created: datetime
) -> Manifest:
    """Return everything that a later evaluation or forecast needs, without the weights."""
    model = dataset.model
    return Manifest(
        created_at=created.isoformat(timespec="microseconds"),
        code_version=forecaster.__version__,
        torch_version=str(torch.__version__),
        targets=list(model.targets),
        inputs=list(model.reader.names),
        network=NetworkPart(
            **settings.model_dump(include=set(NetworkPart.model_fields)),
            heads=list(settings.heads),
            learned_start=settings.initial_state == "learned",
        ),
        members=[
            MemberPart(
                weights=f"weights-{member + 1}.safetensors" if member else "weights.safetensors",
                seed=settings.seed + member,
            )
            for member in range(settings.members)
        ],
        base=_base_part(model.reader.base),
        scaler=_scaler_part(model.reader.scaler),
        target_scaler=_scaler_part(model.target_scaler),
        shrinkage=fit.model.shrinkage.tolist(),
        data=_data_part(dataset, bars_hash),
        training=_training_part(settings, fit, model.reader.base),
        metrics={f"validation_mse_{name}": mse for name, mse in fit.validation_mse.items()},
        levels=list(LEVELS),
        calibration={
            target: {ticker: list(scores) for ticker, scores in by_ticker.items()}
            for target, by_ticker in fit.model.calibration.items()
        },
        files={},
    )


def _data_part(dataset: Dataset, bars_hash: str) -> DataPart:
    panel, split = dataset.panel, dataset.model.split
    return DataPart(
        tickers=list(panel.tickers),
        cross_section=dataset.model.cross_section,
        fingerprint=bars_hash,
        days=len(panel.days),
        blocks=BlocksPart(
            first=panel.days.min().item(),
            train_until=split.train_until.item(),
            validation_until=split.validation_until.item(),
            last=panel.days.max().item(),
        ),
    )


def _training_part(
    settings: TrainSettings, fit: FitResult, base: Base | None
) -> dict[str, str | int | float | list[tuple[int, float]] | None]:
    """Return the settings and the course of the training, of the first member where it differs."""
    by_member = fit.validations_by_member
    validations, last = by_member[0], by_member[0][-1]
    bests = [[one for one in mine if one.best][-1].step for mine in by_member]
    several = {"best_steps": ", ".join(map(str, bests))} if len(bests) > 1 else {}
    return {
        **several,
        **settings.model_dump(mode="json", exclude={"target", "lookback", "head"}),
        "head": ",".join(settings.heads),
        "base": "none" if base is None else base.kind,
        "bptt_k2": settings.horizon,
        "steps": last.step,
        "epochs": last.epoch,
        "best_step": bests[0],
        "clipped": last.clipped,
        "gradient_spikes": last.spikes,
        "validations": [(one.step, one.validation_loss) for one in validations],
        "training_losses": [(one.step, one.train_loss) for one in validations],
    }


def _scaler_part(scaler: Scaler) -> ScalerPart:
    return ScalerPart(mean=scaler.mean.tolist(), scale=scaler.scale.tolist())


def _scaler_of(part: ScalerPart) -> Scaler:
    return Scaler(mean=np.array(part.mean), scale=np.array(part.scale))


def _base_part(base: Base | None) -> BasePart | None:
    if base is None:
        return None
    return BasePart(
        kind=base.kind,
        inputs=list(base.names),
        scaler=_scaler_part(base.scaler),
        weights=base.weights.tolist(),
        intercepts=base.intercepts.tolist(),
    )


def _base_of(part: BasePart | None) -> Base | None:
    if part is None:
        return None
    return Base(
        kind=part.kind,
        names=tuple(part.inputs),
        scaler=_scaler_of(part.scaler),
        weights=np.array(part.weights),
        intercepts=np.array(part.intercepts),
    )


def recipe_of(manifest: Manifest) -> TrainSettings:
    """Return settings to train the same version again; raise ArtifactError if there are none."""
    training = manifest.training
    known = {name: training[name] for name in training if name in TrainSettings.model_fields}
    if known.get("bptt_k2") != "auto":
        known.pop("bptt_tolerance", None)  # belongs to a k2 that was measured then
    values = {
        **known,
        "target": tuple(name for name in manifest.targets if name in TARGETS),
        "target_column": next(iter(own_targets(manifest.targets)), None),
        "head": tuple(manifest.network.heads),
        "lookback": manifest.network.lookback,
        "train_until": manifest.data.blocks.train_until,
        "validation_until": manifest.data.blocks.validation_until,
    }
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"Version {manifest.version} was trained with settings that this forecaster does not "
            f"know ({error.error_count()} of them); train again."
        ) from error


def load_model(home: Path, manifest: Manifest) -> FittedModel:
    """Load a version: rebuild its networks and set their verified weights.

    Torch then works on as many threads as it was trained with.

    Raises:
        ArtifactError: the manifest contradicts itself or the weights; these are corrupt.
    """
    network, blocks = manifest.network, manifest.data.blocks
    forms = tuple(form_of(head, network.point_loss) for head in network.heads)
    _check_numbers(manifest, forms)
    members = load_weights(home, manifest)
    threads = manifest.training.get("threads")
    torch.set_num_threads(threads if isinstance(threads, int) else 1)
    reader = InputReader(
        names=tuple(manifest.inputs),
        scaler=_scaler_of(manifest.scaler),
        base=_base_of(manifest.base),
    )
    architecture = architecture_of(network, reader, forms, learned_start=network.learned_start)
    subject = f"Version {manifest.version} is corrupt"
    return FittedModel(
        targets=tuple(manifest.targets),
        tickers=tuple(manifest.data.tickers),
        cross_section=manifest.data.cross_section,
        split=Split(
            train_until=np.datetime64(blocks.train_until, "D"),
            validation_until=np.datetime64(blocks.validation_until, "D"),
        ),
        network_name=network.model,
        networks=tuple(_network_of(architecture, weights, subject) for weights in members),
        lookback=network.lookback,
        reader=reader,
        target_scaler=_scaler_of(manifest.target_scaler),
        forms=forms,
        shrinkage=np.array(manifest.shrinkage),
        calibration=manifest.calibration,
        levels=tuple(manifest.levels),
        version=manifest.version,
    )


def _network_of(architecture: Architecture, weights: Weights, subject: str) -> Network:
    """Build a network and set its weights, once the shapes match."""
    # On torch's meta device, which stores no numbers, a forged manifest cannot make us allocate
    # the memory of its network.
    with torch.device("meta"):
        check_shapes(build_network(architecture), weights, subject)
    network = build_network(architecture)
    set_weights(network, weights, subject)
    return network.eval()


def _check_numbers(manifest: Manifest, forms: Sequence[Form]) -> None:
    """Refuse a manifest whose lists have another length than needed or are not finite."""
    targets = manifest.targets
    own = own_targets(targets)
    known = all(map(OWN_NAME.fullmatch, own)) and len(own) <= 1
    if not known or not targets or len(set(targets)) < len(targets):
        needed = f"some of {', '.join(TARGETS)}, and one column"
        raise _corrupt(manifest, f"targets {', '.join(targets)}", needed)
    if len(forms) != len(targets):
        raise _corrupt(manifest, f"{len(forms)} heads", f"one for each of {len(targets)} targets")
    for subject, values, shape in _shapes(manifest, sum(form.width for form in forms)):
        try:
            found = np.array(values, dtype=np.float64)
        except ValueError:  # rows of unequal length
            found = np.array(np.nan)
        if found.shape != shape or not np.isfinite(found).all():
            words = " x ".join(map(str, shape))
            raise _corrupt(manifest, f"{subject} of another shape", f"{words} finite numbers")
        if subject.endswith(".scale") and min(values, default=1.0) <= 0.0:
            raise _corrupt(manifest, f"{subject} of {min(values)}", "all above 0")


def _shapes(manifest: Manifest, raw: int) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Yield each list of numbers with its name and the shape that it must have."""
    scalers = [
        ("scaler", manifest.scaler, manifest.inputs),
        ("target_scaler", manifest.target_scaler, manifest.targets),
        *([("base.scaler", manifest.base.scaler, manifest.base.inputs)] if manifest.base else []),
    ]
    for name, part, columns in scalers:
        yield f"{name}.mean", part.mean, (len(columns),)
        yield f"{name}.scale", part.scale, (len(columns),)
    yield "shrinkage", manifest.shrinkage, (len(manifest.targets),)
    yield "levels", manifest.levels, (len(manifest.levels),)
    for target, numbers in manifest.calibration.items():
        for ticker, values in numbers.items():
            yield f"calibration.{target}.{ticker}", values, (len(manifest.levels),)
    if manifest.base:
        yield "base.weights", manifest.base.weights, (len(manifest.base.inputs), raw)
        yield "base.intercepts", manifest.base.intercepts, (raw,)


def _corrupt(manifest: Manifest, found: str, needed: str) -> ArtifactError:
    return ArtifactError(
        f"Version {manifest.version} is corrupt: its manifest has {found}, needed: {needed}. "
        "Train again, or choose another version; see: forecaster models list"
    )


def version_histories(
    manifest: Manifest, bars: Bars | None, home: Path, as_of: date | None
) -> tuple[list[History], tuple[str, ...]]:
    """Load the tickers that a version was trained on, or raise DataError; list those missing."""
    bars = None if bars is None else read_bars(bars, own=manifest.targets)
    trained, stored = manifest.data.tickers, known_tickers(bars, home)
    seen = {one.listing.ticker: one for one in load_known(bars, home, trained, as_of)}
    if not seen:
        raise DataError(
            f"Version {manifest.version} was trained on {name_some(trained)}; none of them has "
            f"prices here{f' until {as_of}' if as_of else ''}. Fetch them."
        )
    missing = tuple(ticker for ticker in trained if ticker not in stored)
    if missing:
        words = "%s: trained on, but without prices here any more; left out"
        log.warning(words, name_some(missing))
    return [seen[ticker] for ticker in trained if ticker in seen], missing


def warn_of_changed_bars(manifest: Manifest, histories: list[History]) -> None:
    """Warn where the bars that the version was trained on have changed since."""
    last = pd.Timestamp(manifest.data.blocks.last)
    seen = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in histories]
    if fingerprint(seen, manifest.targets) != manifest.data.fingerprint:
        log.warning(
            "the bars until %s are not the ones that version %s was trained on",
            *(last.date(), manifest.version),
        )
