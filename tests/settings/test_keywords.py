"""Settings as keywords: the sections' own names and types, and errors in Python's words."""

from datetime import date
from typing import get_type_hints

import pandas as pd
import pytest

from forecaster.errors import UsageError
from forecaster.settings import FetchSettings, PredictSettings, TrainSettings
from forecaster.settings.keywords import (
    FetchKeywords,
    PredictKeywords,
    TrainKeywords,
    UnknownSettingError,
    settings_from,
)

PAIRS = [
    (TrainSettings, TrainKeywords),
    (FetchSettings, FetchKeywords),
    (PredictSettings, PredictKeywords),
]
# Of these more is accepted than the section stores.
WIDER = {"head", "target", "train_until", "validation_until"}


@pytest.mark.parametrize(("section", "keywords"), PAIRS)
def test_keywords_are_the_settings(section: type, keywords: type) -> None:
    stored, accepted = get_type_hints(section), get_type_hints(keywords)
    assert list(accepted) == list(section.model_fields)  # type: ignore[attr-defined]
    for name, kind in accepted.items():
        assert name in WIDER or kind == stored[name], name


def test_values_dicts_and_keywords_are_one() -> None:
    value = TrainSettings(hidden=8, target="range", train_until=date(2015, 1, 2))
    as_dict = {"hidden": 8, "target": ["range"], "train_until": "2015-01-02"}
    assert settings_from(TrainSettings, as_dict, {}) == value
    day = pd.Timestamp("2015-01-02")
    assert settings_from(TrainSettings, {"hidden": 4}, as_dict | {"train_until": day}) == value
    assert settings_from(TrainSettings, value, {}) is value
    assert settings_from(TrainSettings, value, {"layers": 2}).hidden == 8
    assert settings_from(TrainSettings, None, {}) == TrainSettings()


WRONG = [
    ({"hiden": 8}, "hiden: no such setting; did you mean hidden?"),
    ({"zzz": 8}, "zzz: no such setting; help.TrainSettings. lists them"),
    ({"hidden": 0}, "hidden = 0: Input should be greater than or equal to 1."),
    ({"bptt": "full", "bptt_k1": 3}, "^bptt_k1 applies only to bptt truncated; .* Drop one"),
    (7, "settings is a int; a TrainSettings or a dict is needed"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_wrong_settings_are_errors_of_one_line(given: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings_from(TrainSettings, given, {})  # type: ignore[arg-type]


def test_a_misspelt_keyword_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match="did you mean hidden") as caught:
        settings_from(TrainSettings, None, {"hiden": 8})
    assert isinstance(caught.value, UnknownSettingError)
