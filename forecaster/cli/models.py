"""`forecaster models`: the trained versions and the champions."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.output import (
    HomeOption,
    JsonOption,
    command,
    print_json,
    print_next,
    print_rows,
)

if TYPE_CHECKING:
    from forecaster.pipeline.models import ChampionStatus

app = typer.Typer(
    help="Trained versions: list, show, compare, promote, rollback, prune.", no_args_is_help=True
)

Version = Annotated[str, typer.Argument(metavar="VERSION")]
NameOption = Annotated[
    str | None, typer.Option(help="Of which model name [the only one, or the version's own].")
]
ReasonOption = Annotated[str, typer.Option(help="Stored with the decision.", show_default=False)]


@app.command("list")
@command
def list_command(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the trained versions, oldest first, and the champion of each model name.

    Reads: models/. Creates: nothing.

    Example: forecaster models list --json
    """
    from forecaster.pipeline.lists import VERSION_COLUMNS, champion_statuses, version_rows
    from forecaster.settings import resolve_home

    where = resolve_home(home)
    versions, names = version_rows(where), champion_statuses(where)
    if json:
        print_json("models.list", {"versions": versions, "names": [_content(one) for one in names]})
        return
    print_rows(versions, VERSION_COLUMNS, {"tickers": ","})
    for one in names:
        _print_champion(one)
    if not versions:
        print_next("train", home)


@app.command("show")
@command
def show_command(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="None: the newest.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print a version's manifest, after verifying its files, and its decisions.

    Reads: models/<version>/, models/registry.db. Creates: nothing.

    Example: forecaster models show
    """
    from forecaster.pipeline.models import shown_version
    from forecaster.settings import resolve_home

    manifest, entry, decisions = shown_version(resolve_home(home), version)
    names = ("session", "name", "outcome", "before", "after", "reason", "evidence")
    taken = []
    for one in decisions:
        facts = {name: getattr(one, name) for name in names}
        taken.append({"made_at": one.made_at.isoformat(timespec="seconds"), **facts})
    if json:
        content = {"manifest": manifest.model_dump(mode="json", by_alias=True)}
        status = entry.status if entry else None
        print_json("models.show", {**content, "status": status, "decisions": taken})
        return
    print(manifest.document(), end="")
    if entry:
        print(f"status   {entry.status} of {entry.name} since {entry.since:%Y-%m-%d}")
    for row in taken:
        print(f"decision {row['made_at']} {row['outcome']}: {row['reason']}")


@app.command("compare")
@command
def compare_command(
    one: Version, other: Version, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Print the differences of two versions, both verified; scores are of the validation days.

    Reads: models/. Creates: nothing.

    Example: forecaster models compare 20240301-221502-lstm-1a2b3c4d 20240402-221502-gru-5e6f7a8b
    """
    from forecaster.pipeline.models import compare_versions
    from forecaster.settings import resolve_home

    found = compare_versions(resolve_home(home), one, other)
    if json:
        print_json("models.compare", {"versions": [one, other], "differences": found})
        return
    print_rows(found, ("what", one, other))
    if any(row["what"] == "fingerprint" for row in found):
        print("note     trained on other bars: their validation scores are not comparable")


@app.command("promote")
@command
def promote_command(
    version: Version,
    name: NameOption = None,
    reason: ReasonOption = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a version champion by hand, after verifying its files, without a promotion test.

    Reads: models/<version>/. Creates: the decision, in models/registry.db.

    Example: forecaster models promote 20240301-221502-lstm-1a2b3c4d --reason "seen to be good"
    """
    from forecaster.pipeline.models import promote_by_hand

    found = promote_by_hand(version, name=name, reason=reason, home=home)
    _print_result("promote", found, home, json=json)


@app.command("rollback")
@command
def rollback_command(
    name: NameOption = None,
    reason: ReasonOption = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Return to the newest previous champion whose files are intact, or to the baseline.

    Reads: models/. Creates: the decision, in models/registry.db.

    Example: forecaster models rollback --name return
    """
    from forecaster.pipeline.models import rollback_by_hand

    found = rollback_by_hand(name=name, reason=reason, home=home)
    _print_result("rollback", found, home, json=json)


@app.command("prune")
@command
def prune_command(
    keep: Annotated[int, typer.Option(min=1, help="How many versions stay.")] = 30,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print which would be removed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Remove the oldest versions; champions, their predecessors and challengers stay.

    Reads: models/. Creates: nothing; removes folders in models/.

    Example: forecaster models prune --keep 10 --dry-run
    """
    from forecaster.pipeline.models import prune_by_hand

    removed = prune_by_hand(keep, dry_run=True, home=home)
    if removed and not (dry_run or yes or json) and sys.stdin.isatty():
        question = f"Remove {len(removed)} versions, {removed[0]} to {removed[-1]}?"
        dry_run = not typer.confirm(question)
    if removed and not dry_run:
        removed = prune_by_hand(keep, home=home)
    if json:
        print_json("models.prune", {"removed": removed, "dry_run": dry_run})
        return
    for version in removed:
        print(f"{'would remove' if dry_run else 'removed'}  {version}")
    if not removed:
        print(f"nothing to remove: --keep {keep}")


@app.command("export")
@command
def export_command(
    version: Version,
    onnx: Annotated[Path, typer.Option(metavar="FILE", help="The graph to write.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a version as an ONNX graph of one day, for use without torch.

    Its inputs are the unscaled inputs of a day and the state before it, its outputs the parameters
    of each target's distribution and the state after. A JSON file of the same name lists their
    names and order, and the state to start from.

    Reads: models/<version>/. Creates: FILE and its JSON file.

    Example: forecaster models export 20240301-221502-lstm-1a2b3c4d --onnx lstm.onnx
    """
    from forecaster.pipeline.models import export_version

    described = export_version(version, onnx, home=home)
    if json:
        print_json("models.export", {"onnx": onnx, "description": described})
        return
    print(f"saved    {onnx}, described in {described}")


def _content(one: "ChampionStatus") -> dict[str, object]:
    return {
        "name": one.name,
        "champion": one.champion or "baseline",
        "predecessor": one.predecessor or "baseline",
        "challenger": one.challenger,
        "since": one.since.isoformat(timespec="seconds") if one.since else None,
    }


def _print_champion(one: "ChampionStatus") -> None:
    since = f" since {one.since:%Y-%m-%d}" if one.since else ""
    print(f"champion {one.name}: {one.champion or 'baseline'}{since}")


def _print_result(done: str, found: "ChampionStatus", home: Path | None, *, json: bool) -> None:
    if json:
        print_json(f"models.{done}", _content(found))
        return
    _print_champion(found)
    print_next(f"predict --name {found.name}", home)
