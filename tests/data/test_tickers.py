import pytest

from forecaster.data.history import normalise_ticker, normalise_tickers
from forecaster.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "ticker"),
    [
        ("AAPL", "AAPL"),
        ("aapl", "AAPL"),
        ("brk-b", "BRK-B"),
        ("^GSPC", "^GSPC"),
        ("EURUSD=X", "EURUSD=X"),
        ("M&M.NS", "M&M.NS"),
        ("7203.t", "7203.T"),
        ("btc-usd", "BTC-USD"),
        ("CON", "CON"),  # a device on Windows, but a ticker to us: it never becomes a file name
        ("A" * 20, "A" * 20),
    ],
)
def test_well_formed_tickers_come_back_in_upper_case(typed: str, ticker: str) -> None:
    """Every spelling that Yahoo uses is accepted."""
    assert normalise_ticker(typed) == ticker


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "AAPL ",
        "AAPL\n",
        "AA PL",
        "../../x",
        "/etc/passwd",
        "A/B",
        "a\0b",
        "%2e%2e",
        "-AAPL",
        "--help",
        ".",
        "=X",
        "&A",
        "A?x=1",
        "A#b",
        "A^" + "B" * 19,
        "АAPL",  # Cyrillic capital A  # noqa: RUF001
        "ıbm",  # dotless i, upper-cased to a plain I  # noqa: RUF001
        "ſpy",  # long s, upper-cased to a plain S  # noqa: RUF001
        "groß",  # upper-cased to GROSS
        "K",  # the Kelvin sign  # noqa: RUF001
        "ＡAPL",  # full-width A  # noqa: RUF001
        "１2",  # a full-width digit  # noqa: RUF001
        "A" * 10_000,
    ],
)
def test_everything_else_is_refused_in_one_short_line(typed: str) -> None:
    """Fault 43: paths, options, look-alikes and floods end in exit 2 before any request."""
    with pytest.raises(UsageError) as refused:
        normalise_ticker(typed)
    message = str(refused.value)
    assert refused.value.exit_code == 2
    assert message.isascii() and message.isprintable() and len(message) < 250
    assert "is not a ticker" in message


def test_a_text_by_itself_is_one_ticker() -> None:
    assert normalise_tickers("aapl") == ["AAPL"]
    assert normalise_tickers(("aapl", "MSFT")) == ["AAPL", "MSFT"]


def test_what_is_no_text_is_no_ticker() -> None:
    with pytest.raises(UsageError, match="7 is not a ticker"):
        normalise_tickers([7])  # type: ignore[list-item]
