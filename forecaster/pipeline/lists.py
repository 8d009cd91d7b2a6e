"""`forecaster data list` and `models list`: what there is, without pandas."""

from pathlib import Path
from typing import Any

from forecaster.data import price_database
from forecaster.data.price_database import SUMMARY_COLUMNS
from forecaster.errors import ArtifactError, UnknownNameError, no_home
from forecaster.registry.champion_history import Registered, champion_statuses, registered
from forecaster.registry.versions import list_versions, load_weights, read_manifest
from forecaster.settings import Home, resolve_home

__all__ = ["SUMMARY_COLUMNS", "champion_statuses"]  # and what is defined here

VERSION_COLUMNS = (
    *("version", "name", "status", "model", "targets", "tickers", "lookback", "validation_until"),
    "state",
)


def stored_tickers(home: Home | None = None) -> list[dict[str, Any]]:
    """List the tickers in the store by SUMMARY_COLUMNS."""
    return price_database.stored_tickers(resolve_home(home))


def version_rows(home: Path) -> list[dict[str, object]]:
    """List every version by VERSION_COLUMNS, oldest first; a corrupt one is listed as such.

    Raises:
        UnknownNameError: there is no such home.
    """
    if not home.is_dir():
        raise UnknownNameError(no_home(home))
    known = registered(home)
    rows = [_row(home, version, known.get(version)) for version in list_versions(home)]
    return [{name: row.get(name) for name in VERSION_COLUMNS} for row in rows]


def _row(home: Path, version: str, entry: Registered | None) -> dict[str, object]:
    named = {"version": version}
    if entry:
        named |= {"name": entry.name, "status": entry.status}
    try:
        manifest = read_manifest(home, version)
        load_weights(home, manifest)
    except ArtifactError:
        return {**named, "state": "corrupt"}
    return {
        **named,
        "model": manifest.network.model,
        "targets": ",".join(manifest.targets),
        "tickers": len(manifest.data.tickers),
        "lookback": str(manifest.network.lookback),
        "validation_until": str(manifest.data.blocks.validation_until),
        "state": "intact",
    }
