"""Loops over tickers: what one of them causes stops no other, and what concerns all stops all."""

import errno
import logging
import socket

import pytest

from forecaster.errors import (
    BugError,
    CannotWriteError,
    DataError,
    Failures,
    SettingsError,
    StorageError,
    TickerBugError,
    TryLaterError,
    severity,
    work_without_failing,
)

UNEXPECTED = (
    *(OverflowError("too large"), KeyError("meta"), RecursionError(), AssertionError()),
    *(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x\ny"), ValueError("x" * 10_000), SyntaxError()),
    *(StopIteration(), ConnectionResetError("cut"), TimeoutError(), socket.gaierror(-2, "name")),
)
OF_THE_RUN = (
    *(CannotWriteError("x"), StorageError("x"), TryLaterError("x"), SettingsError("x")),
    *(MemoryError(), OSError(errno.ENOSPC, "full"), PermissionError(13, "denied", "prices.db")),
    *(KeyboardInterrupt(), SystemExit(143)),
)


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda error: type(error).__name__)
def test_an_unexpected_exception_is_the_error_of_its_ticker(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """In one printable line, exit code 3; its traceback is logged beside it."""
    failures = Failures()
    with failures.of("AAA"):
        raise error
    (found,) = failures.bugs.values()
    text = str(found)
    assert text.startswith(f"AAA: a bug: {type(error).__name__} in test_errors.py, line ")
    assert text.isprintable() and len(text) < 200
    assert (found.exit_code, found.__cause__) == (3, error)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info[1] is error


@pytest.mark.parametrize("error", OF_THE_RUN, ids=repr)
def test_what_concerns_the_whole_run_is_raised(error: BaseException) -> None:
    failures = Failures()
    with pytest.raises(type(error)) as raised, failures.of("AAA"):
        raise error
    assert raised.value is error and not failures.errors


def test_our_own_errors_are_kept_as_they_are() -> None:
    failures, error = Failures(), DataError("AAA: too short")
    with failures.of("AAA"):
        raise error
    assert failures.errors == {"AAA": error} and not failures.bugs


def fail(*tickers: str, elsewhere: str = "") -> Failures:
    """Fail tickers at one line, and perhaps one at another."""
    failures = Failures()
    for ticker in tickers:
        with failures.of(ticker):
            if ticker == elsewhere:
                raise ValueError(ticker)
            raise ValueError(ticker)
    return failures


def test_the_same_exception_at_the_same_line_for_every_ticker_is_a_bug() -> None:
    """Neither of one ticker alone, nor with a ticker that went well, nor at two lines."""
    bug = fail("AAA", "BBB").common_bug(2)
    assert isinstance(bug, BugError) and bug.exit_code == 1
    assert "ValueError in test_errors.py, line" in str(bug) and "AAA, BBB" in str(bug)
    assert fail("AAA").common_bug(1) is None
    assert fail("AAA", "BBB").common_bug(3) is None
    assert fail("AAA", "BBB", elsewhere="BBB").common_bug(2) is None
    other = fail("AAA")
    other.errors["BBB"] = DataError("BBB: too short")
    assert other.common_bug(2) is None


def test_a_bug_is_the_worst_exit_code() -> None:
    assert sorted([3, 0, 1, 75, 4], key=severity) == [0, 3, 4, 75, 1]


def joined(tickers: list[str]) -> str:
    if "BAD" in tickers or "WORSE" in tickers:
        raise ZeroDivisionError(tickers)
    return " ".join(tickers)


def test_a_job_goes_on_without_the_tickers_that_break_it() -> None:
    made, bugs = work_without_failing(["AAA", "BAD", "BBB", "WORSE"], joined)
    assert made == "AAA BBB" and list(bugs) == ["BAD", "WORSE"]
    assert all(isinstance(error, TickerBugError) for error in bugs.values())
    assert work_without_failing(["AAA", "BBB"], joined) == ("AAA BBB", {})


def test_a_job_that_no_ticker_survives_is_a_bug_or_a_ticker_s_error() -> None:
    with pytest.raises(BugError, match="for each of 2 tickers"):
        work_without_failing(["BAD", "WORSE"], joined)
    with pytest.raises(TickerBugError, match="BAD: a bug"):
        work_without_failing(["BAD"], joined)


def test_a_job_that_fails_only_with_all_together_is_a_bug() -> None:
    def crowded(tickers: list[str]) -> int:
        return len(tickers) // (len(tickers) < 3)

    with pytest.raises(BugError, match="all tickers: a bug: ZeroDivisionError"):
        work_without_failing(["AAA", "BBB", "CCC"], crowded)


def test_our_own_error_of_a_job_is_raised_at_once() -> None:
    calls = []

    def short(tickers: list[str]) -> None:
        calls.append(tickers)
        raise DataError("none can be forecast")

    with pytest.raises(DataError, match="none can be"):
        work_without_failing(["AAA", "BBB"], short)
    assert len(calls) == 1
