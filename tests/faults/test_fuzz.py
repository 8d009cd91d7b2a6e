"""Whatever comes, only our own errors leave: chart JSON, CSV files, manifests, settings.

What takes longer than the deadline counts as a hang.
"""

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from curl_cffi.requests import Response
from hypothesis import HealthCheck, Phase, example, given, settings

from forecaster import clock
from forecaster.data.price_database import store_path
from forecaster.data.sources.yahoo import YahooSource
from forecaster.data.sources.yahoo_session import RecordingSession
from forecaster.data.store import PriceStore
from forecaster.errors import ForecasterError
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.predict import predict
from forecaster.pipeline.train import train
from forecaster.registry.manifest import HASH_LENGTH, Manifest
from forecaster.settings import TrainSettings
from forecaster.settings.settings_sources import load_settings
from tests.faults.mutated import mutations, torn
from tests.synthetic import bars_of, ragged_bars
from tests.yahoo.charts import chart, series
from tests.yahoo.server import CHART

TICKER, DAYS = "FUZZ", 40
NEWEST = date(2024, 6, 28)
EVENING = datetime(2024, 6, 28, 22, tzinfo=UTC)
LONGEST = timedelta(seconds=20)


def drawn(examples: int) -> settings:
    """Draw so many, always the same."""
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples,
        deadline=LONGEST,
        derandomize=True,
        database=None,
        suppress_health_check=health,
        phases=[Phase.explicit, Phase.generate],
    )


def few_and_many(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with a few examples, and among the slow ones with many."""
    slow = pytest.param(many, marks=pytest.mark.slow)
    return pytest.mark.parametrize("examples", [few, slow], ids=["few", "many"])


class Canned(RecordingSession):
    """A session whose every chart is one given body."""

    def __init__(self) -> None:
        super().__init__(gap_seconds=0.0)
        self.body = b""

    def send(self, method: Any, url: str, **options: Any) -> Response:
        """Answer without any network."""
        response = Response()
        response.url, response.status_code = url, 200
        is_chart = CHART in url
        response.headers["Content-Type"] = "application/json" if is_chart else "text/plain"
        options["content_callback"](self.body if is_chart else b"crumb")
        return response


@pytest.fixture
def stored(tmp_path: Path, forgetful_yfinance: None) -> Path:
    """A home with most of the ticker's days."""
    home = tmp_path / "stored"
    home.mkdir()
    with clock.as_if(EVENING - timedelta(days=10)):
        yahoo = canned(home, json.dumps(GOOD_BEFORE).encode())
        assert not fetch(TICKER, home=home, source=yahoo).failures
    return home


def canned(home: Path, body: bytes) -> YahooSource:
    session = Canned()
    session.body = body
    return YahooSource(home / "data" / "yahoo", session, lambda seconds: None)


def days_of(home: Path) -> int:
    with PriceStore.open_for_reading(home) as store:
        return len(store.bars(TICKER))


def spans(newest: date) -> tuple[int, int]:
    """Stamps of the last days until the newest, as Yahoo takes them."""
    known = series(TICKER)
    last = known.days.index(newest)
    return int(known.stamps[last - DAYS]), int(known.stamps[last]) + 1


GOOD = chart(TICKER, *spans(NEWEST), NEWEST)
GOOD_BEFORE = chart(TICKER, *spans(date(2024, 6, 17)), date(2024, 6, 17))


@few_and_many(40, 400)
def test_any_chart_is_stored_or_refused(stored: Path, tmp_path: Path, examples: int) -> None:
    """Fields of any type, missing, elsewhere: the store stays whole and never shrinks."""
    before, kept = days_of(stored), store_path(stored).read_bytes()

    @drawn(examples)
    @given(
        mutations(GOOD).map(lambda one: json.dumps(one).encode()) | torn(json.dumps(GOOD).encode())
    )
    @example(json.dumps(GOOD).encode())
    def check(body: bytes) -> None:
        store_path(stored).write_bytes(kept)
        with clock.as_if(EVENING):
            report = fetch(TICKER, home=stored, source=canned(stored, body))
        assert days_of(stored) >= before
        if body == json.dumps(GOOD).encode():
            assert not report.failures and days_of(stored) > before

    check()


CSV = bars_of("AAA", 30).drop(columns=["dividend", "split"]).to_csv(index=False).encode()


@few_and_many(25, 300)
def test_any_file_is_imported_or_refused(tmp_path: Path, examples: int) -> None:
    """Cut, doubled, overwritten: all of the file or nothing of it."""
    file = tmp_path / "prices.csv"

    @drawn(examples)
    @given(torn(CSV))
    @example(CSV)
    def check(content: bytes) -> None:
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
        (tmp_path / "home").mkdir()
        file.write_bytes(content)
        try:
            import_files([file], home=tmp_path / "home", basis="split-adjusted", calendar="XNYS")
        except ForecasterError:
            assert content != CSV

    check()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    home = tmp_path_factory.mktemp("home")
    chosen = TrainSettings(hidden=3, max_steps=2, target="return,range")
    return home, train(BARS, settings=chosen, home=home).manifest


BARS = ragged_bars({"AAA": 200, "BBB": 180})


@few_and_many(25, 200)
def test_any_manifest_forecasts_or_is_refused(
    made: tuple[Path, Manifest], tmp_path: Path, examples: int
) -> None:
    """Even one whose hash is right: its change was hashed, too."""
    home, manifest = made
    good = json.loads(manifest.document())

    @drawn(examples)
    @given(mutations(good))
    @example(good)
    def check(content: Any) -> None:
        shutil.rmtree(tmp_path / "models", ignore_errors=True)
        version = rehashed(content, manifest.version)
        folder = tmp_path / "models" / version
        shutil.copytree(home / "models" / manifest.version, folder)
        document = {**content, "version": version} if isinstance(content, dict) else content
        (folder / "manifest.json").write_text(json.dumps(document))
        try:
            made = predict(version=version, bars=BARS, home=tmp_path, as_of=LAST, record=False)
        except ForecasterError:
            assert content != good
        else:
            assert len(made.forecasts)

    check()


LAST = BARS["session"].max().date()


def rehashed(content: Any, version: str) -> str:
    """Return the id that such a manifest would have; the old one if it is no manifest."""
    try:
        digest = Manifest.model_validate(content).content_hash()[:HASH_LENGTH]
    except ValueError:
        return version
    return version[:-HASH_LENGTH] + digest


TOML = b"""
[fetch]
source = "yahoo"
[train]
target = "return,range"
hidden = 8
lr = 1e-3
train_until = 2018-12-31
[retrain]
every = 21
on_failure = "mail me"
"""


@few_and_many(150, 1500)
def test_any_settings_are_taken_or_refused(tmp_path: Path, examples: int) -> None:
    """Each mistake ends in one of our sentences."""

    @drawn(examples)
    @given(torn(TOML))
    @example(TOML)
    def check(content: bytes) -> None:
        (tmp_path / "forecaster.toml").write_bytes(content)
        try:
            load_settings(tmp_path)
        except ForecasterError as error:
            assert content != TOML and "forecaster.toml" in str(error)

    check()
