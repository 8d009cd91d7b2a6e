#!/usr/bin/env bash
# Install a wheel into an empty environment and use it in an empty folder, as a user would.
# Usage: wheel.sh WHEEL CONSTRAINTS
set -euo pipefail
wheel=$(realpath "$1")
constraints=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check -c "$constraints" "$wheel"
venv/bin/python -c 'import forecaster.data, forecaster.models, forecaster.training, forecaster; print(forecaster.__file__)'
mkdir home
venv/bin/forecaster fetch --source sample --home home --quiet
venv/bin/forecaster train SP500 --target range --max-steps 30 --home home --quiet
venv/bin/forecaster evaluate --home home --quiet
ls home/reports/*.html >/dev/null
venv/bin/forecaster predict SP500 --target range --as-of 2018-12-31 --home home --json
echo "wheel   installs and runs outside the checkout"
