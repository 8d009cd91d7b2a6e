"""The page of an evaluation: which tables it shows, and the file that it is written to."""

import logging
from pathlib import Path

from forecaster.backtesting.evaluation import Evaluation
from forecaster.data.export import check_folder, output_file
from forecaster.errors import CannotWriteError, UsageError, name_some
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import read_manifest
from forecaster.report.evaluation import EvaluationTables, evaluation_page
from forecaster.report.evaluation_details import details
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)

FOLDER = "reports"


def report_file(result: Evaluation, home: Home | None = None) -> Path:
    """Name the page of an evaluation: `reports/<version>-<targets>.html` in the home.

    Another way to walk is another evaluation, and has another page.
    """
    walk = result.walk
    ways = {
        "refit-": walk.refit_every,
        "rolling-": walk.train_days,
        "": "warm" if walk.weights == "warm" else None,
        "seeds-": walk.seeds if walk.seeds > 1 else None,
    }
    parts = [result.version, *result.targets]
    parts += [f"{name}{value}" for name, value in ways.items() if value is not None]
    return resolve_home(home) / FOLDER / f"{'-'.join(parts)}.html"


def check_files(file: Path | None, forecasts: Path | None, *, none: bool) -> None:
    """Refuse, before any work, what cannot be written.

    Raises:
        CannotWriteError: the folder of the page or of the table of forecasts is not there.
        UsageError: a page is named and none is wanted.
    """
    if file is not None and none:
        raise UsageError(f"--report {file} and --no-report: give one of them.")
    check_folder("--report", file)
    check_folder("--forecasts", forecasts)


def save_report(
    tables: EvaluationTables, result: Evaluation, home: Home | None, file: Path | None
) -> Path | None:
    """Write an evaluation's page whole or not at all.

    Args:
        tables: of `evaluation_tables`.
        result: what they are of.
        home: the workspace that it was evaluated in; None as the command line resolves it.
        file: where to; None for `report_file`, whose folder is made.

    Returns:
        The file; None where the home's own folder cannot be written, which is told of.

    Raises:
        CannotWriteError: the folder of a file that was named is missing or read-only.
        StorageError: the disk is full or failed.
    """
    page = evaluation_page(tables).encode()
    try:
        with output_file(file or _made(report_file(result, home))) as stream:
            stream.write(page)
    except CannotWriteError as error:
        if file is not None:
            raise
        log.warning("no page: %s", error)
        return None
    return file or report_file(result, home)


def _made(file: Path) -> Path:
    """Make the folder of a file."""
    try:
        file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWriteError(
            f"{file.parent}: {error.strerror}. Give --report FILE.html in a folder of yours."
        ) from error
    return file


def evaluation_tables(result: Evaluation, home: Home | None = None) -> EvaluationTables:
    """Choose what a page shows of an evaluation and of the version that it is of.

    Args:
        result: of `evaluate`.
        home: the workspace that it was evaluated in; None as the command line resolves it.

    Raises:
        ArtifactError: the version is damaged.
    """
    manifest = read_manifest(resolve_home(home), result.version)
    looks = manifest.training.get("validations")
    seed = manifest.members[0].seed
    return EvaluationTables(
        version=result.version,
        verdicts=result.verdicts,
        facts=_facts(result),
        scores=result.scores,
        forecasts=result.forecasts,
        pit={
            target: next(iter(found.values()))
            for target, found in result.pit.items()
            if found and _own(result, target) in found
        },
        details={target: details(result, target) for target in result.targets},
        learning={f"seed {seed}": looks} if isinstance(looks, list) and looks else {},
        settings=_settings(manifest),
        alarms=result.alarms,
        notes=result.notes,
    )


def _own(result: Evaluation, target: str) -> str:
    return str(result.scores.loc[result.scores["target"] == target, "forecaster"].iloc[0])


def _facts(result: Evaluation) -> dict[str, str]:
    """Say what the verdicts rest on."""
    walk, looks = result.walk, result.looks
    found = {name: f"{first} to {last}" for name, (first, last) in result.blocks.items()}
    found = {f"{name} block": days for name, days in found.items()}
    if walk.refit_every is None:
        found["weights"] = "the version's own, all the way"
    else:
        window = f"the last {walk.train_days:,} days" if walk.train_days else "all days before"
        found["weights"] = (
            f"fitted anew every {walk.refit_every} days on {window}, {walk.weights} start, "
            f"{len(result.folds)} fits"
        )
    if walk.seeds > 1:
        found["seeds"] = f"{walk.seeds}, the version's own first"
    found["comparisons"] = f"{len(result.comparisons):,}, p-values adjusted"
    found["looks"] = _looks(looks.total, looks.questions)
    if result.missing:
        found["missing"] = f"{name_some(result.missing)}: trained on, without prices here any more"
    for target, tickers in result.unscored.items():
        found[f"{target}, not scored"] = name_some(tickers)
    return found


def _looks(every: int | None, questions: int | None) -> str:
    if every is None:
        return "not counted: the home cannot be written"
    return f"look {every:,} at these days; different questions asked of them: {questions:,}"


def _settings(manifest: Manifest) -> dict[str, str]:
    """Lay out the data, the network and the training of a version."""
    data, network = manifest.data, manifest.network
    heads = ", ".join(f"{t} ({h})" for t, h in zip(manifest.targets, network.heads, strict=True))
    base = manifest.base
    trained = {
        name.replace("_", " "): str(value)
        for name, value in manifest.training.items()
        if name not in ("validations", "model", "hidden", "layers", "base", "head")
        and value is not None
    }
    return {
        "tickers": f"{len(data.tickers):,}: {', '.join(data.tickers)}",
        "days": f"{data.days:,} of {data.blocks.first} to {data.blocks.last}",
        "data fingerprint": data.fingerprint,
        "network": f"{network.model}, {network.hidden} hidden, {network.layers} layer"
        + ("s" if network.layers > 1 else ""),
        "targets": heads,
        "base": "none" if base is None else f"{base.kind}, {len(base.inputs)} inputs",
        "inputs": f"{len(manifest.inputs)}: {', '.join(manifest.inputs)}",
        **trained,
        "made": f"{manifest.created_at}, forecaster {manifest.code_version}, torch "
        f"{manifest.torch_version}",
    }
