"""Tables of what was renamed since 0.1.0, for `benchmarks.same_values`; one table per kind.

A commit that renames an option, a key of `--json`, a column of `--forecasts` or a forecaster adds
it here. Data only.
"""

OPTIONS = {
    "--fit-until": "--train-until",
    "--select-until": "--validation-until",
    "--fit-window": "--train-window",
    "--max-updates": "--max-steps",
    "--lanes": "--batch-rows",
    "--bptt-steps": "--bptt-k2",
    "--bptt-stride": "--bptt-k1",
    "--bptt-update": "--step-per",
    "--baselines": "--benchmarks",
    "--twins": "--same-inputs",
    "--no-twins": "--no-same-inputs",
    "--ledger": "--record",
    "--no-ledger": "--no-record",
}
OPTION_VALUES = {("--bptt-update", "pass"): "epoch"}

# Values that are names, in JSON and CSV.
NAMES = {
    "linear-twin": "linear",
    "mlp-twin": "mlp",
    "pass": "epoch",
    "direction_accuracy": "directional_accuracy",
    "raw": "uncalibrated",
    "calibrated": "conformal",
    "not distinguishable": "no significant difference",
    "waiting": "pending",
    "lost": "unscorable",
    "good": "intact",
    "damaged": "corrupt",
}

# Keys of JSON objects, at any level or as parent.key. Several new names are tried in order, then
# the old one. Settings have the names of their options.
SETTINGS = {
    old.removeprefix("--").replace("-", "_"): new.removeprefix("--").replace("-", "_")
    for old, new in OPTIONS.items()
}
KEYS: dict[str, str | tuple[str, ...]] = {
    **SETTINGS,
    "fit": "train",
    "select": "validation",
    "blocks": ("blocks", "split"),
    "blocks.report": "test",
    "fit_from": "train_from",
    "fit_days": "train_days",
    "fit_loss": "train_loss",
    "select_loss": "validation_loss",
    "select_mse_return": "validation_mse_return",
    "select_mse_range": "validation_mse_range",
    "select_mse_volume": "validation_mse_volume",
    "evaluate_every": ("validate_every", "validation_every"),
    "update": "step",
    "updates": "steps",
    "best_update": "best_step",
    "best_updates": "best_steps",
    "passes": ("epochs", "epoch"),
    "pass": "epoch",
    "leaps": ("gradient_spikes", "spikes"),
    "looks": ("validations", "test_set_evaluations"),
    "looks.this": "same",
    "looks.all": "total",
    "walk.twins": "same_inputs",
    "rival": "benchmark",
    "rivals": ("forecasters", "benchmarks"),
    "verdict": ("result", "conclusion"),
    "verdicts": ("results", "conclusions"),
    "coverage.coverage": "nominal",
    "coverage.inside": "coverage",
    "cover80": "coverage_80",
    "cover95": "coverage_95",
    "superiority": ("superior_predictive_ability", "spa"),
    "confidence_sets": "mcs",
    "right": "accuracy",
    "strategies": ("backtests", "backtest"),
    "yearly_return": "annualised_return",
    "drawdown": "maximum_drawdown",
    "sharpe": "sharpe_ratio",
    "daily": "daily_returns",
    "by_chance": "expected_by_chance",
    "adjusted": "adjusted_p_value",
    "comparisons.comparisons": "tests",
    "ticker_comparisons.comparisons": "tests",
    "ticker_comparisons": "comparisons_by_ticker",
    "per_ticker": "scores_by_ticker",
    "seeds": ("scores_by_seed", "seeds"),
    "settings.made": "created",
    "settings.days": "rows",
    "below_ends.stated": "nominal",
    "rise": "prob_up",
    "remembered": "recorded",
    "ledger": "record",
    "troubles": ("problems", "warnings"),
    "night": "session",
    "nights": ("daily_runs", "sessions"),
    "waiting": "pending",
    "lost": "unscorable",
    "promised_mse": "expected_mse",
    "doubt": "without_forecast",
    "stride": "k1",
    "steps": "k2",
    "bias.reach": "horizon",
}

# Columns of the file of forecasts.
COLUMNS = {"log_score": "log_density", "rise": "prob_up"}

# Keys whose values differ between two runs of the same code: required, but not compared.
EACH_RUN = {
    "schema",
    "seconds",
    "hours",
    "overdue_hours",
    "names.model_age",
    "last_good_run",
    "home",
    "path",
    "report",
    "made_at",
    "created_at",
    "settings.made",
    "writer",
}

# Keys at the top of an object that moved elsewhere in it, with their new place.
MOVED = {"version": "models[].version", "name": "models[].name"}

# Keys that identify a row of a table, by old name: a renamed forecaster may change the order.
IDENTITY = (
    "name", "version", "ticker", "target", "forecaster", "rival", "made", "metric", "intervals",
    "by", "key", "interval", "first", "session", "as_of", "night", "fold", "seed", "member",
    "update", "lag", "reach", "setting",
)  # fmt: skip

# Of conclusions and decisions: the keys that hold them, the benchmark's, and a reworded one.
DECIDING = ("conclusion", "verdict", "outcome")
BENCHMARK = ("benchmark", "rival")
WORDS = {"not distinguishable": "no significant difference"}
