"""What is in the registry, as a table and as a verified manifest."""

from pathlib import Path

import pandas as pd

from forecaster.errors import ArtifactError, UnknownNameError
from forecaster.registry.choice import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, load_weights, read_manifest

VERSION_COLUMNS = ("version", "model", "targets", "tickers", "lookback", "select_until", "state")


def version_table(home: Path) -> pd.DataFrame:
    """List every version, oldest first; a damaged one is listed as such, not left out.

    Raises:
        UnknownNameError: there is no such home.
    """
    if not home.is_dir():
        raise UnknownNameError(f"{home}: no such home; create it with: mkdir -p {home}")
    rows = [_row(home, name) for name in list_versions(home)]
    # Objects, so that a count stays whole beside the gap of a damaged version.
    return pd.DataFrame(rows, columns=list(VERSION_COLUMNS), dtype=object)


def _row(home: Path, name: str) -> dict[str, object]:
    try:
        manifest = read_manifest(home, name)
        load_weights(home, manifest)
    except ArtifactError:
        return {"version": name, "state": "damaged"}
    return {
        "version": name,
        "model": manifest.network.model,
        "targets": ",".join(manifest.targets),
        "tickers": len(manifest.data.tickers),
        "lookback": str(manifest.network.lookback),
        "select_until": str(manifest.data.blocks.select_until),
        "state": "good",
    }


def verified_manifest(home: Path, version: str | None) -> Manifest:
    """Read a version's manifest, or the newest one's, with every file checked.

    Raises:
        ArtifactError: a file is damaged.
        UnknownNameError: no such version.
    """
    manifest = find_version(home, version)
    load_weights(home, manifest)
    return manifest
