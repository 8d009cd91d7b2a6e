"""Settings of 0.1.0: read with a warning where nobody watches, refused at a terminal."""

import pytest

from forecaster.errors import SettingsError
from forecaster.settings import SECTIONS, Settings
from forecaster.settings.renamed_keys import RENAMED_KEYS, RENAMED_VALUES, renamed
from forecaster.settings.settings_sources import load_settings

OLD = """\
[train]
bptt_steps = 42
bptt_stride = 21
bptt_update = "pass"
fit_until = 2015-06-01
select_until = 2016-06-01
max_updates = 9
lanes = 8
"""
NEW = """\
[train]
bptt_k2 = 42
bptt_k1 = 21
step_per = "epoch"
train_until = 2015-06-01
validation_until = 2016-06-01
max_steps = 9
batch_rows = 8
"""


def test_every_present_name_is_a_setting_and_no_old_one_is():
    for (section, old), present in RENAMED_KEYS.items():
        assert present in SECTIONS[section].model_fields
        assert old not in SECTIONS[section].model_fields
    for section, name in RENAMED_VALUES:
        assert name in SECTIONS[section].model_fields


def test_renaming_by_hand():
    assert renamed("train", "lanes", 8) == ("batch_rows", 8)
    assert renamed("train", "bptt_update", "pass") == ("step_per", "epoch")
    assert renamed("train", "step_per", "pass") == ("step_per", "epoch")
    assert renamed("train", "hidden", [8]) == ("hidden", [8])
    assert renamed("fetch", "lanes", 8) == ("lanes", 8)


def test_an_old_file_is_read_with_a_warning_a_setting(tmp_path, logged_warnings):
    (tmp_path / "forecaster.toml").write_text(OLD)
    found = load_settings(tmp_path)
    assert len(logged_warnings) == len(RENAMED_KEYS)
    assert (
        "config  train.lanes = 8 of forecaster.toml is now train.batch_rows = 8; it is read as that"
        in logged_warnings
    )
    (tmp_path / "forecaster.toml").write_text(NEW)
    assert found == load_settings(tmp_path) != Settings()
    assert len(logged_warnings) == len(RENAMED_KEYS), "no warning for the new names"


def test_an_old_variable_is_read_with_a_warning(tmp_path, logged_warnings, monkeypatch):
    monkeypatch.setenv("FORECASTER_TRAIN__MAX_UPDATES", "7")
    monkeypatch.setenv("FORECASTER_TRAIN__BPTT_UPDATE", "pass")
    found = load_settings(tmp_path).train
    assert (found.max_steps, found.step_per) == (7, "epoch")
    assert len(logged_warnings) == 2
    assert "of FORECASTER_TRAIN__MAX_UPDATES is now train.max_steps" in "".join(logged_warnings)


def test_a_present_name_beside_an_old_one_counts(tmp_path):
    (tmp_path / "forecaster.toml").write_text("[train]\nlanes = 8\nbatch_rows = 4\nlr = 0.5\n")
    found = load_settings(tmp_path).train
    assert (found.batch_rows, found.lr) == (4, 0.5)


def test_a_wrong_value_under_an_old_name_is_refused_under_the_present_one(tmp_path):
    (tmp_path / "forecaster.toml").write_text("[train]\nlanes = 0\n")
    with pytest.raises(SettingsError, match=r"train.batch_rows = 0 of forecaster.toml: .*greater"):
        load_settings(tmp_path)


def test_a_terminal_gets_an_error_with_the_present_name(tmp_path, monkeypatch):
    (tmp_path / "forecaster.toml").write_text("[train]\nlanes = 8\n")
    match = (
        "train.lanes = 8 of forecaster.toml is now train.batch_rows = 8. .*config init --migrate"
    )
    with pytest.raises(SettingsError, match=match):
        load_settings(tmp_path, interactive=True)
    (tmp_path / "forecaster.toml").unlink()
    monkeypatch.setenv("FORECASTER_TRAIN__LANES", "8")
    with pytest.raises(SettingsError, match="Set FORECASTER_TRAIN__BATCH_ROWS instead"):
        load_settings(tmp_path, interactive=True)
