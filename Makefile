# Everything a person or CI does with this project. `make` alone prints this help.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN = $(BIN)/forecaster
DEMO := demo

# For the pipeline targets: TICKERS="AAPL MSFT" SOURCE=yahoo HOME_DIR=. ARGS="--target range"
TICKERS ?=
SOURCE ?= yahoo
HOME_DIR ?= .
ARGS ?=

.PHONY: help
help:  ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs,parquet,onnx,tune,tensorboard,mlflow]"
	touch $@

.PHONY: setup demo
setup: $(VENV)/.dev  ## make .venv with everything for using and changing forecaster

demo: $(VENV)/.installed  ## fetch, train, evaluate, predict on real S&P 500 and NASDAQ prices, in demo/
	mkdir -p $(DEMO)
	$(RUN) fetch --source sample --home $(DEMO)
	$(RUN) train --target return,range --as-of 2018-12-31 --home $(DEMO)
	$(RUN) evaluate --as-of 2018-12-31 --home $(DEMO)
	$(RUN) predict --as-of 2018-12-31 --home $(DEMO)

.PHONY: fetch train evaluate predict
fetch: $(VENV)/.installed  ## download prices: make fetch TICKERS="AAPL MSFT"
	$(RUN) fetch $(TICKERS) --source $(SOURCE) --home $(HOME_DIR) $(ARGS)

train: $(VENV)/.installed  ## train a version: make train TICKERS=AAPL ARGS="--target range"
	$(RUN) train $(TICKERS) --home $(HOME_DIR) $(ARGS)

evaluate: $(VENV)/.installed  ## score the newest version beside the benchmarks
	$(RUN) evaluate --home $(HOME_DIR) $(ARGS)

predict: $(VENV)/.installed  ## forecast the next session: make predict TICKERS=AAPL
	$(RUN) predict $(TICKERS) --home $(HOME_DIR) $(ARGS)

# The command that `forecaster schedule` gives to cron; without TICKERS for all in the store.
.PHONY: daily
daily: $(VENV)/.installed  ## run every session that is due: make daily TICKERS="AAPL MSFT"
	$(RUN) retrain $(TICKERS) --source $(SOURCE) --home $(HOME_DIR) $(ARGS)

.PHONY: format lint type test test-slow mutants gpu faults check-series check bench experiments wheel clean
format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev  ## style and common bugs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(VENV)/.dev  ## types, strictly
	$(BIN)/mypy

test: $(VENV)/.dev  ## the fast tests, offline
	$(BIN)/pytest -n auto -m "not slow and not gpu"

test-slow: $(VENV)/.dev  ## the tests that take minutes, offline
	$(BIN)/pytest -n 2 --dist worksteal -m "slow and not gpu"

mutants: $(VENV)/.dev  ## plant known bugs one by one: the tests must fail for each
	$(BIN)/python -m tests.mutants.run

# Under eight minutes; without `make setup` by any Python that has torch and numpy.
gpu:  ## compare an NVIDIA GPU with the CPU: numbers, waiting, memory, speed
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu

# CI draws from these; to draw again what it drew: FAULTS_SEED=... make test-slow
faults: $(VENV)/.dev  ## every fault of the daily run: 25 kills a phase, every write failing, 2,000 fuzzed runs
	FAULTS=all $(BIN)/pytest -m "not gpu" tests/faults

# Real series cannot be in git: DIR is a folder of yours.
check-series: $(VENV)/.dev  ## apply the data rules to real series: make check-series DIR=...
	$(BIN)/python -m tests.check_series $(DIR)

check: lint type test  ## what must be green before a commit

bench: $(VENV)/.dev  ## time and memory, side by side, on this machine
	$(BIN)/python -m benchmarks.sequences
	$(BIN)/python -m benchmarks.training --quick
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.data_rules --bars 200000

# Twenty minutes for 20 tickers of 20 years.
experiments: $(VENV)/.dev  ## walk forward over a folder of prices: make experiments PRICES=...
	$(BIN)/python -m benchmarks.recipe $(PRICES)

# A site in site/, and the picture of the README: commit it when the page has changed.
.PHONY: docs
docs: $(VENV)/.dev demo  ## make the documentation as a site (needs chromium)
	$(BIN)/python docs/make_images.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

wheel: $(VENV)/.dev  ## build the wheel, install it elsewhere, run it outside the checkout
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist . >/dev/null
	bash tests/wheel.sh dist/*.whl constraints.txt

clean:  ## remove what was built; never data/ or models/
	rm -rf dist build $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find forecaster tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
