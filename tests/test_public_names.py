"""The package as its users import it: light, typed, and with examples that run."""

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import forecaster
from forecaster import fetch, train

PACKAGE = Path(forecaster.__file__)


def test_type_checkers_see_what_is_imported_when_first_used() -> None:
    body = ast.parse(PACKAGE.read_text()).body
    static = next(one for one in body if isinstance(one, ast.If))
    imports = [line for line in static.body if isinstance(line, ast.ImportFrom)]
    seen = {alias.asname: line.module for line in imports for alias in line.names}
    assert seen == forecaster._HOMES
    assert (PACKAGE.parent / "py.typed").exists()


def test_importing_the_package_imports_nothing_else() -> None:
    """Its time is then Python's own: 50 ms are for a machine without a disk cache."""
    line = "import sys; old = set(sys.modules); import forecaster; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert roots - set(sys.stdlib_module_names) == {"forecaster"}


@pytest.mark.slow
@pytest.mark.parametrize("first", ["f.audit; ", ""])
def test_a_function_is_not_hidden_by_the_room_of_its_name(first: str) -> None:
    line = f"import forecaster as f; {first}import forecaster.audit.values; f.audit.__call__"
    subprocess.run([sys.executable, "-c", line], check=True)


USER = """
import forecaster
from forecaster import PriceForecaster, TrainSettings, predict, train

model = PriceForecaster(target="return,range", hidden=8, train_until="2015-12-31")
train(hidden=32, settings={"layers": 2}, as_of="2018-12-31")
predict("AAPL", max_stale=3).forecasts.head()
"""
# What a user writes, and the words of mypy about it.
MISTAKES = {
    "PriceForecaster(hiden=8)": 'Unexpected keyword argument "hiden"',
    'train(settings={"hiden": 8})': 'Argument "settings" to "train"',
    'train(model="lsmt")': 'Argument "model" to "train"',
    "TrainSettings(hiden=8)": 'Unexpected keyword argument "hiden"',
    "forecaster.trian()": 'Module has no attribute "trian"',
}


@pytest.mark.slow
def test_mypy_finds_a_misspelt_setting_in_a_users_file(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text(USER + "\n".join(MISTAKES) + "\n")
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = silent\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    first = USER.count("\n") + 1
    for number, (code, words) in enumerate(MISTAKES.items(), start=first):
        assert any(f":{number}: " in line and words in line for line in lines), (code, done.stdout)
    assert len(lines) == len(MISTAKES), done.stdout


# Values that functions return, and errors: theirs are the functions' examples.
WITHOUT_EXAMPLE = {
    *("AuditReport", "Evaluation", "FetchReport", "Forecasts", "MemoryReport", "Prediction"),
    *(
        "TrainReport",
        "ForecasterError",
        "FetchSettings",
        "PredictSettings",
        "TrainSettings",
        "Walk",
    ),
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the home `demo` of the examples: sample prices and a version."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "demo").mkdir()
    fetch(source="sample", home=folder / "demo")
    train(tickers="SP500", home=folder / "demo", target="range", hidden=4, max_steps=10)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*forecaster._HOMES} - WITHOUT_EXAMPLE))
def test_public_names_have_an_example_that_runs(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    public = getattr(forecaster, name)
    text = "Examples:" + inspect.getdoc(public).split("Examples:")[1]
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert len(example.examples) > 1
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
    assert result.failed == 0, "".join(report)
    made = [one for one in example.globs.values() if type(one).__name__ in forecaster._HOMES]
    assert made or name in ("import_files", "load_bars")
    for value in made:
        check_screen(value)


def check_screen(value: object) -> None:
    """A `repr` is to be read: it starts with the name of the class and fits a screen."""
    lines = repr(value).splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) <= 100, repr(value)
    assert lines[0].startswith(type(value).__name__)


def test_settings_show_what_is_not_the_default() -> None:
    settings = forecaster.TrainSettings(hidden=8, target="return,range")
    assert repr(settings) == "TrainSettings(hidden=8, target=('return', 'range'))"
    check_screen(settings)
    check_screen(forecaster.PriceForecaster(hidden=8, target="return,range"))
