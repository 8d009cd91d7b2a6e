"""The documents are true: every command is in them, the tree is the tree."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sklearn
import typer.main

from forecaster.cli import app
from forecaster.data.checks import RULES, STALE
from forecaster.data.history import FLAWS
from forecaster.data.quarantine import DUPLICATE_DAY
from forecaster.data.revisions import REVISION_RULES
from forecaster.errors import ExitCode
from forecaster.settings import SECTIONS
from forecaster.settings.settings_file import RENAMED_KEYS

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
TREE = ROOT / "docs" / "architecture.md"


def command_paths(group: object, prefix: str = "forecaster") -> dict[str, object]:
    """Every command under its full name, groups themselves left out."""
    found: dict[str, object] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        path = f"{prefix} {name}"
        nested = hasattr(command, "commands")
        found |= command_paths(command, path) if nested else {path: command}
    return found


ALL = command_paths(typer.main.get_command(app))


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


@pytest.mark.parametrize("path", ALL)
def test_every_command_is_in_the_docs(path: str) -> None:
    assert f"`{path}" in COMMANDS


def options_of(path: str) -> set[str]:
    """The long options of a command but those that all have, and those made from settings."""
    options = {option for p in ALL[path].params for option in p.opts if option.startswith("--")}  # type: ignore[attr-defined]
    return options - {"--help", "--home", "--json", "--quiet"}


def documented_options() -> dict[str, set[str]]:
    """The options that the section on them lists for each command."""
    section = COMMANDS.split("## Options")[1].split("\n## ")[0]
    _, *parts = re.split(r"`([a-z ]+)`: ", section)
    passages = zip(parts[::2], parts[1::2], strict=True)
    return {name: set(re.findall(r"`(--[a-z-]+)", text)) for name, text in passages}


@pytest.mark.parametrize("path", ALL)
def test_the_docs_list_a_commands_own_options_and_no_others(path: str) -> None:
    assert documented_options().get(path.removeprefix("forecaster "), set()) == options_of(path)


def test_the_docs_list_no_command_that_is_not_there() -> None:
    assert {f"forecaster {name}" for name in documented_options()} <= set(ALL)
    introduction = COMMANDS.split("## Options")[0]
    for option in ("--home", "--json", "--quiet", "--debug"):
        assert option in introduction


def command_lines() -> list[str]:
    """Every `forecaster` line in a block of the documents, and the example of every help."""
    texts = [file.read_text() for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]]
    blocks = [
        line
        for text in texts
        for block in re.findall(r"^```\w*\n.*?^```|(?:^    .*\n)+", text, re.M | re.S)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    examples = [(command.help or "").split("Example: ")[-1] for command in ALL.values()]  # type: ignore[attr-defined]
    begin = re.compile(r"\s*(?:\$ |next +)?(?:\.venv/bin/)?(forecaster \w.*)")
    return sorted({found[1] for line in [*blocks, *examples] if (found := begin.match(line))})


@pytest.mark.parametrize("line", command_lines())
def test_the_command_lines_of_the_documents_are_accepted(line: str) -> None:
    """By the real parser: command, options and values exist."""
    group, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    name: str | None = "forecaster"
    while hasattr(group, "commands"):
        context = group.make_context(name, words)
        name, group, words = group.resolve_command(
            context, [*context._protected_args, *context.args]
        )
    group.make_context(name, words)


def test_the_parser_of_the_documents_would_see_a_wrong_option() -> None:
    assert len(command_lines()) > 20
    with pytest.raises(Exception, match="No such option"):
        test_the_command_lines_of_the_documents_are_accepted("forecaster train --hiden 3")
    with pytest.raises(Exception, match="No such command"):
        test_the_command_lines_of_the_documents_are_accepted("forecaster trian")


@pytest.mark.parametrize("path", ALL)
def test_every_help_has_what_it_reads_creates_and_an_example(path: str) -> None:
    text = ALL[path].help or ""  # type: ignore[attr-defined]
    for word in ("Reads:", "Creates:", "Example: forecaster"):
        assert word in text


def test_every_setting_and_its_old_name_is_in_the_docs() -> None:
    for name, section in SECTIONS.items():
        assert f"[{name}]" in COMMANDS
        for key in section.model_fields:
            assert re.search(rf"^# {key} = ", COMMANDS, re.M), key
    for (section, old), present in RENAMED_KEYS.items():
        assert f"| `{section}` | `{old}` | `{present}` |" in COMMANDS


def test_every_exit_code_is_in_the_docs() -> None:
    for code in ExitCode:
        assert f"| {code} |" in COMMANDS


def documented_tree() -> list[tuple[str, str]]:
    """Each path of the tree in docs/architecture.md with its words."""
    block = TREE.read_text().split("## The tree")[1].split("```")[1]
    parents: list[str] = []
    found = []
    for line in block.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, words = line.split(maxsplit=1)
        parents = [*parents[:depth], name]
        found.append(("".join(parents), words))
    return found


def test_the_documented_tree_is_the_tree() -> None:
    documented = {path for path, _ in documented_tree()}
    package = {name for name in tracked() if name.startswith("forecaster/")}
    folders = {f"{parent}/" for name in package for parent in map(str, Path(name).parents[:-1])}
    top = {name.split("/")[0] + ("/" if "/" in name else "") for name in tracked()}
    visible = {name for name in top if not name.startswith(".")}
    real = package | folders | visible
    lines = [f"missing: {name}" for name in sorted(real - documented)]
    lines += [f"not there: {name}" for name in sorted(documented - real)]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_the_tree_gives_about_four_words_per_file() -> None:
    for path, words in documented_tree():
        assert 1 <= len(words.split()) <= 5, path


def walk(heading: str) -> list[tuple[str, str]]:
    """Return type and file of each row of a table in docs/architecture.md."""
    section = TREE.read_text().split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(r"^\| \d+ \| .*\| `(\w+)` \| `([\w/]+\.py)` \|$", section, re.M)


@pytest.mark.parametrize(("heading", "most"), [("One price", 9), ("One forecast", 5)])
def test_the_values_on_the_way_are_where_the_page_says(heading: str, most: int) -> None:
    found = walk(heading)
    assert 3 < len(found) <= most
    for name, file in found:
        text = (ROOT / "forecaster" / file).read_text()
        assert re.search(rf"^class {name}\b|CREATE TABLE {name}\b", text, re.M), f"{file}: {name}"


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is written, with a smaller training."""
    block = (ROOT / "docs" / "guide.md").read_text().split("```python")[1].split("```")[0]
    assert block.count("TrainSettings(target") == 1
    quick = block.replace("TrainSettings(target", "TrainSettings(max_steps=25, target")
    monkeypatch.chdir(tmp_path)
    exec(compile(quick, "guide.md", "exec"), {})


def python_blocks() -> dict[str, str]:
    """The Python of the documents but the guide's first block, which is run above."""
    found = {}
    for file in ("README.md", "docs/guide.md", "docs/own-target.md"):
        for number, part in enumerate((ROOT / file).read_text().split("```python\n")[1:]):
            if (file, number) != ("docs/guide.md", 0):
                found[f"{file} {number}"] = part.split("```")[0]
    return found


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=False):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", python_blocks())
def test_the_python_of_the_documents_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: None
) -> None:
    monkeypatch.chdir(tmp_path)
    text = re.sub(r"max_steps=\d+", "max_steps=25", python_blocks()[name])
    exec(compile(text, name, "exec"), {})


NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_cells_of_a_notebook_run_in_order(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are written; each figure that a cell ends with shows something."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    figures = []
    for number, cell in enumerate(json.loads(file.read_text())["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], f"cell {number} has outputs; clear them"
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            figures += [value] if hasattr(value, "to_plotly_json") else []
    assert figures
    for figure in figures:
        assert figure.data and all(len(trace.x) == len(trace.y) > 0 for trace in figure.data)


def shape(text: str) -> list[str]:
    """The first word of each line, numbers masked; alarms depend on the numbers."""
    words = [line.split()[0] for line in text.splitlines() if line.strip()]
    return [
        re.sub(r"\d[\d,.]*", "#", word) for word in words if word[0] != "!" and word != "WARNING"
    ]


def commands_in(text: str) -> list[tuple[str, str]]:
    """The commands of an example with the lines below each."""
    block = text.split("```\n$ mkdir demo\n")[1].split("```")[0]
    parts = re.split(r"(?m)^\$ \.venv/bin/forecaster (.*)\n", block)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.slow
def test_the_example_is_what_the_commands_print(tmp_path: Path) -> None:
    """Line by line, but for numbers, which differ between machines; the README has some of them."""
    (tmp_path / "demo").mkdir()
    readme = (ROOT / "README.md").read_text()
    shown, printed = dict(commands_in(readme)), ""
    for line, expected in commands_in((ROOT / "docs" / "example.md").read_text()):
        done = subprocess.run(
            [sys.executable, "-m", "forecaster", *shlex.split(line)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        assert sorted(shape(done.stdout)) == sorted(shape(expected)), line
        some = [text for text in shown.pop(line).splitlines() if text != "..."]
        assert some and set(shape("\n".join(some))) <= set(shape(done.stdout)), line
        printed += done.stdout
    assert not shown
    claimed = readme.split("| next day's range, against persistence | ")[1]
    assert_near(claimed, printed, r"LSTM vs persistence: .*?MSE ([\d.]+) %")


def assert_near(claimed: str, printed: str, pattern: str) -> None:
    """Compare the number that a cell of the results begins with to the one printed."""
    found = re.search(pattern, printed.replace("\n            ", " "))
    assert found and float(found[1]) == pytest.approx(float(claimed.split()[0]), abs=1.0)


def test_links_between_documents_lead_somewhere() -> None:
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_no_tracked_file_names_a_path_of_some_machine() -> None:
    """Such a path works only for its writer."""
    roots = ("home", "root", "Users", "work", "opt", "mnt")
    absolute = re.compile(r"(?<![\w.~/:*{}])/(?:" + "|".join(roots) + r")/[\w.]+")
    private = "sha" + "red/"
    for name in tracked():
        try:
            text = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue
        assert not absolute.search(text), f"{name}: {absolute.search(text)}"
        assert private not in text, name


def test_no_data_is_tracked() -> None:
    for name in tracked():
        if name.startswith("tests/home_0_1_0/"):  # the one stored home, made by the old code
            continue
        assert not name.endswith((".db", ".safetensors", ".parquet", ".npy", ".pkl", ".csv")), name
        assert (ROOT / name).stat().st_size < 200_000, name
    inside = [name for name in tracked() if name.startswith(("data/", "models/"))]
    assert sorted(inside) == ["data/README.md", "models/README.md"]


def test_every_rule_of_the_checks_is_in_the_docs_with_its_severity() -> None:
    checks = (ROOT / "docs" / "data-validation.md").read_text()
    for rule in RULES:
        assert f"| `{rule.name}` | {rule.severity} |" in checks
    for name in (STALE, *FLAWS, DUPLICATE_DAY, *(rule.name for rule in REVISION_RULES)):
        assert f"| `{name}` | " in checks
