"""Settings of 0.1.0 and the names and values that replaced them; the only place that knows."""

from typing import Any, Final

RENAMED_KEYS: Final = {
    ("train", "bptt_steps"): "bptt_k2",
    ("train", "bptt_stride"): "bptt_k1",
    ("train", "bptt_update"): "step_per",
    ("train", "fit_until"): "train_until",
    ("train", "select_until"): "validation_until",
    ("train", "max_updates"): "max_steps",
    ("train", "lanes"): "batch_rows",
}
RENAMED_VALUES: Final = {("train", "step_per"): {"pass": "epoch"}}


def renamed(section: str, name: str, value: Any) -> tuple[str, Any]:
    """Return the present name and value of a setting; those given if they are present ones."""
    present = RENAMED_KEYS.get((section, name), name)
    values = RENAMED_VALUES.get((section, present), {})
    return present, values.get(value, value) if isinstance(value, str) else value
