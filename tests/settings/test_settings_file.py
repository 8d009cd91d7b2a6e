"""`config init`: a file of commented defaults, and the migration of an old one."""

import re
import tomllib
from pathlib import Path

import pytest

from forecaster.errors import SettingsError, UsageError
from forecaster.settings import SECTIONS, Settings
from forecaster.settings.settings_file import (
    default_text,
    migrate_file,
    value_form,
    write_default_file,
)
from forecaster.settings.settings_sources import load_settings
from tests.settings.test_renamed_keys import NEW, OLD

ROOT = Path(__file__).parents[2]


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
