"""The page of an evaluation: the conclusions first, then what they rest on.

An `Evaluation` and its version's manifest in, a page out; knows no network and no file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from forecaster.errors import name_some
from forecaster.evaluation.evaluation import Evaluation
from forecaster.registry.manifest import Manifest
from forecaster.report.curves import curves_of
from forecaster.report.evaluation_figures import (
    against_sections,
    calibration_sections,
    gains_section,
    learning_section,
    log_gains_section,
    ticker_gains_section,
)
from forecaster.report.evaluation_tables import (
    NOTHING,
    score_table,
    settings_section,
    target_tables,
)
from forecaster.report.page import Section, render_page
from forecaster.report.sentences import alarm_text, conclusions, count_text, label, title

SURVIVORS = (
    "Survivorship bias: tickers chosen today are survivors. Companies that failed, shrank or were "
    "bought are missing, so these prices rose more and crashed less than those of a choice made "
    "at the time. All forecasters are scored on the same tickers, which weakens this bias and does "
    "not remove it."
)


def evaluation_page(
    result: Evaluation,
    learning: Mapping[str, Sequence[tuple[int, float]]],
    settings: Mapping[str, str],
) -> str:
    """Render an evaluation on one page that needs no network.

    Args:
        result: the evaluation.
        learning: validation loss by optimizer step of each training, by its label.
        settings: label and value of the data and the settings of the version.
    """
    several = len(result.targets) > 1
    lead = []
    for target in result.targets:
        first, *others = conclusions(result, target)
        lead.append([f"{target.capitalize()}: {first}" if several else first, *others])
    sections = [section for target in result.targets for section in _of_target(result, target)]
    return render_page(
        title(result),
        lead,
        _facts(result),
        [alarm_text(alarm) for alarm in result.alarms],
        [*sections, learning_section(learning), *settings_section(settings)],
        notes=[SURVIVORS, *result.notes],
    )


def drawn_tables(result: Evaluation) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """Return every table behind the figures, by target and name, as lists by column."""
    return {
        target: {
            name: {str(column): table[column].tolist() for column in table}
            for name, table in curves_of(part).items()
        }
        for target, part in result.by_target.items()
    }


def learning_curves(manifest: Manifest) -> dict[str, list[tuple[int, float]]]:
    """Return the validation loss by optimizer step of a version's first member."""
    losses = manifest.training.get("validations")
    return {f"seed {manifest.members[0].seed}": losses} if isinstance(losses, list) else {}


def version_settings(manifest: Manifest) -> dict[str, str]:
    """Return label and value of a version's data, network and training."""
    data, network, base = manifest.data, manifest.network, manifest.base
    heads = ", ".join(f"{t} ({h})" for t, h in zip(manifest.targets, network.heads, strict=True))
    shown_above = ("validations", "model", "hidden", "layers", "base", "head")
    trained = {
        name.replace("_", " "): str(value)
        for name, value in manifest.training.items()
        if name not in shown_above and value is not None
    }
    plural = "s" if network.layers > 1 else ""
    return {
        "tickers": f"{len(data.tickers):,}: {', '.join(data.tickers)}",
        "rows": f"{data.days:,} of {data.blocks.first} to {data.blocks.last}",
        "data fingerprint": data.fingerprint,
        "network": f"{network.model}, {network.hidden} hidden, {network.layers} layer{plural}",
        "targets": heads,
        "base": "none" if base is None else f"{base.kind}, {len(base.inputs)} inputs",
        "inputs": f"{len(manifest.inputs)}: {', '.join(manifest.inputs)}",
        **trained,
        "created": f"{manifest.created_at}, forecaster {manifest.code_version}, torch "
        f"{manifest.torch_version}",
    }


def _of_target(result: Evaluation, target: str) -> list[Section]:
    """Return one target's heading and scores, its figures, then its other tables."""
    part = result.by_target[target]
    drawn = curves_of(part)
    own = part.forecasts[part.forecasts["forecaster"] == part.forecaster]
    first, last = own["session"].min(), own["session"].max()
    heading = Section(
        heading=f"The next day's {target}",
        words=f"{len(own):,} forecasts by {label(part.forecaster)} of "
        f"{own['session'].nunique():,} test days, {first:%Y-%m-%d} to {last:%Y-%m-%d}; the "
        f"benchmarks forecast the same days and tickers. An undefined score is {NOTHING}.",
        table=score_table(part.scores),
    )
    log_gains, by_ticker = drawn["log_gains"], drawn["gains_by_ticker"]
    return [
        heading,
        gains_section(drawn["gains"]),
        *([log_gains_section(log_gains)] if len(log_gains) else []),
        *against_sections(own, drawn["bins"], ".4~%" if target == "return" else ""),
        *calibration_sections(drawn),
        *([ticker_gains_section(by_ticker)] if len(by_ticker) else []),
        *target_tables(result, target),
    ]


def _facts(result: Evaluation) -> dict[str, str]:
    """Return label and value of what the conclusions rest on."""
    walk = result.walk
    found = {f"{name} days": f"{first} to {last}" for name, (first, last) in result.blocks.items()}
    if walk.refit_every is None:
        found["weights"] = "the version's own throughout"
    else:
        window = f"the last {walk.train_days:,} days" if walk.train_days else "all days before"
        found["weights"] = (
            f"trained again every {walk.refit_every} days on {window}, {walk.weights} start, "
            f"{len(result.folds)} fits"
        )
    if walk.seeds > 1:
        found["seeds"] = f"{walk.seeds}, the version's own first"
    tests = sum(len(part.comparisons.all) for part in result.by_target.values())
    found["comparisons"] = f"{tests:,}, p-values adjusted"
    found["test-set evaluations"] = count_text(result)
    if result.missing:
        found["missing"] = f"{name_some(result.missing)}: trained on, without prices now"
    for target, part in result.by_target.items():
        if part.unscored:
            found[f"{target}, not scored"] = name_some(part.unscored)
    return found
