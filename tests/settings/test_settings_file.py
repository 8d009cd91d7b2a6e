"""A file of commented defaults; names of 0.1.0, read with a warning or migrated."""

import re
import tomllib
from pathlib import Path

import pytest

from forecaster.errors import SettingsError, UsageError
from forecaster.settings import SECTIONS, Settings
from forecaster.settings.settings_file import (
    RENAMED_KEYS,
    RENAMED_VALUES,
    default_text,
    migrate_file,
    renamed,
    value_form,
    write_default_file,
)
from forecaster.settings.settings_sources import load_settings

ROOT = Path(__file__).parents[2]
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


def migrated(home, text):
    """The file after a migration, and what is returned of it."""
    (home / "forecaster.toml").write_text(text)
    changed, backup = migrate_file(home)
    return (home / "forecaster.toml").read_text(), changed, backup


def test_the_default_file_changes_nothing(tmp_path):
    write_default_file(tmp_path)
    assert load_settings(tmp_path) == Settings()


def test_the_default_file_with_its_comments_removed_has_the_defaults():
    """Every setting is there; one without a default has no value to uncomment."""
    text = default_text()
    for settings in SECTIONS.values():
        for name in settings.model_fields:
            assert re.search(rf"^# {name} = ", text, re.M)
    lines = [re.sub(r"^# (\w+ = [^ #])", r"\1", line) for line in text.splitlines()]
    found = tomllib.loads("\n".join(lines))
    assert len(found["train"]) > 20 and Settings(**found) == Settings()


def test_the_docs_show_the_default_file():
    block = (ROOT / "docs" / "commands.md").read_text().split("```toml\n")[1].split("```")[0]
    assert block == default_text()


def test_a_file_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "forecaster.toml").write_text("# mine\n")
    with pytest.raises(UsageError, match=r"exists and was not changed; .* add --migrate"):
        write_default_file(tmp_path)
    assert (tmp_path / "forecaster.toml").read_text() == "# mine\n"


def test_a_migration_renames_and_keeps_a_backup(tmp_path):
    text, changed, backup = migrated(tmp_path, OLD)
    assert text == NEW and changed == NEW.splitlines()[1:]
    assert backup.name == "forecaster.toml.bak" and backup.read_text() == OLD
    _, _, second = migrated(tmp_path, OLD)
    assert second.name == "forecaster.toml.bak1"


def test_a_migration_keeps_comments_spaces_and_quotes(tmp_path):
    old = "# mine\n\n[train]\n  lanes=8 # of histories\nbptt_update = 'pass'\n#max_updates = 3\n"
    new = "# mine\n\n[train]\n  batch_rows=8 # of histories\nstep_per = 'epoch'\n#max_steps = 3\n"
    assert migrated(tmp_path, old)[0] == new
    assert migrated(tmp_path, "train.lanes = 8\n")[0] == "train.batch_rows = 8\n"


def test_a_file_without_old_settings_is_left_alone(tmp_path):
    for text in (NEW, default_text(), "", "[fetch]\nsource = 'sample'\n"):
        assert migrated(tmp_path, text) == (text, [], None)
    assert [one.name for one in tmp_path.iterdir()] == ["forecaster.toml"]


def test_what_cannot_be_renamed_by_line_is_refused_and_left(tmp_path):
    for text in (
        '[train]\n"lanes" = 8\n',
        "train = {lanes = 8}\n",
        "[train]\nlanes = 8\nbatch_rows = 4\n",
    ):
        with pytest.raises(SettingsError, match="rename them by hand"):
            migrated(tmp_path, text)
        assert (tmp_path / "forecaster.toml").read_text() == text
    with pytest.raises(SettingsError, match="correct the file"):
        migrated(tmp_path, "[train\n")
    (tmp_path / "forecaster.toml").unlink()
    with pytest.raises(UsageError, match="no such file"):
        migrate_file(tmp_path)


def test_the_form_of_a_value_by_hand():
    fields = SECTIONS["train"].model_fields
    assert value_form(fields["bptt"].annotation) == "full|truncated"
    assert value_form(fields["lookback"].annotation) == "int|all"
    assert value_form(fields["bptt_k2"].annotation) == "int|auto"
    assert value_form(fields["head"].annotation) == "point|student-t|quantiles[,...]"
    assert value_form(fields["lr"].annotation) == "float"


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
