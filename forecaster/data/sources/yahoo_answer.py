"""What Yahoo answered, and what that means for the user.

yfinance raises different exceptions for the same fault as a process goes on, so the
recorded HTTP answer alone decides.  Knows neither yfinance nor the network.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from forecaster.errors import (
    DataError,
    ForecasterError,
    SourceDownError,
    TryLaterError,
    UnknownNameError,
)

_SNIPPET = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The last answer of Yahoo's chart service.

    `status` is 0 and `trouble` tells why where no whole HTTP answer came back.
    `for_span` is False for the one-day look-up of the time zone, which precedes the
    first span of a ticker.
    """

    for_span: bool
    status: int = 0
    retry_after: str = ""
    body: bytes = b""
    trouble: str = ""

    @property
    def is_final(self) -> bool:
        """Tell whether asking again at once is pointless: new cookies cure only 401 and 403."""
        return bool(self.trouble) or (self.status >= 400 and self.status not in (401, 403))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked for: one ticker, and its span of days in words."""

    ticker: str
    span: str
    whole: bool


def read_chart(question: Question, answer: Answer) -> dict[str, Any]:
    """Return the chart in an answer, as Yahoo's JSON has it, or raise what the answer means.

    Raises:
        TryLaterError: 429.
        UnknownNameError: 404, or nothing at all known under that name.
        SourceDownError: no answer, another bad status, or not the JSON of a chart.
        DataError: another ticker's data, or no bars in the span asked for.
    """
    _check_transport(question.ticker, answer)
    payload = _parse(question.ticker, answer)
    _check_status(question, answer, payload)
    chart = _first_result(question, answer, payload)
    symbol = chart["meta"].get("symbol")
    if symbol != question.ticker:
        raise DataError(
            f"{question.ticker}: Yahoo answered with the data of {_short(symbol)}; nothing was "
            "taken. The ticker may have been renamed: check it on finance.yahoo.com."
        )
    if answer.for_span and not chart.get("timestamp"):
        raise no_bars(question, answer)
    return chart


def no_bars(question: Question, answer: Answer) -> ForecasterError:
    """Build the error for a readable answer without a single bar."""
    sentence = f"{question.ticker}: Yahoo answered {answer.status} with no bars {question.span}"
    if question.whole:
        return UnknownNameError(f"{sentence}. Check the spelling of the ticker.")
    return DataError(f"{sentence}. Ask for a longer period.")


def retry_seconds(text: str, now: datetime) -> float | None:
    """Read a Retry-After header, in seconds or as an HTTP date; None where it says nothing."""
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - now).total_seconds(), 0.0)


def _check_transport(ticker: str, answer: Answer) -> None:
    if answer.trouble:
        raise SourceDownError(
            f"{ticker}: no answer from Yahoo ({answer.trouble}). Check the network, or try later."
        )
    if answer.status == 429:
        asked = f" and asks to wait {answer.retry_after}" if answer.retry_after else ""
        raise TryLaterError(
            f"{ticker}: Yahoo limits our rate (answered 429{asked}). Try again in an hour."
        )
    if answer.status == 404:
        raise _unknown(ticker, "answered 404")


def _parse(ticker: str, answer: Answer) -> dict[str, Any]:
    """Parse the body to {"result": ..., "error": ...}; too deep a nesting is bad as well."""
    try:
        payload = json.loads(answer.body)["chart"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise _unreadable(ticker, answer) from error
    if not isinstance(payload, dict):
        raise _unreadable(ticker, answer)
    return payload


def _check_status(question: Question, answer: Answer, payload: dict[str, Any]) -> None:
    """Refuse a bad status and an error that Yahoo explains."""
    reason = payload.get("error")
    if answer.status < 400 and not reason:
        return
    reason = reason if isinstance(reason, dict) else {}
    if reason.get("code") == "Not Found":
        raise _unknown(question.ticker, f"answered {answer.status}, Not Found")
    # Yahoo's 400 for a span before the first or after the last day of a listing.
    if str(reason.get("description", "")).startswith("Data doesn't exist"):
        raise no_bars(question, answer)
    raise _unreadable(question.ticker, answer)


def _first_result(question: Question, answer: Answer, payload: dict[str, Any]) -> dict[str, Any]:
    results = payload.get("result")
    if not results:
        if answer.for_span and not question.whole:
            raise no_bars(question, answer)
        raise _unknown(question.ticker, f"answered {answer.status} with an empty result")
    chart = results[0] if isinstance(results, list) else None
    if not isinstance(chart, dict) or not isinstance(chart.get("meta"), dict):
        raise _unreadable(question.ticker, answer)
    return chart


def _unknown(ticker: str, what_came: str) -> UnknownNameError:
    return UnknownNameError(
        f"{ticker}: Yahoo has no such ticker ({what_came}). Check the spelling; class shares "
        "are written BRK-B, other exchanges SAP.DE or 7203.T."
    )


def _unreadable(ticker: str, answer: Answer) -> SourceDownError:
    snippet = _short(answer.body[:_SNIPPET].decode("utf-8", "replace"))
    return SourceDownError(
        f"{ticker}: Yahoo answered {answer.status} with something that is not a chart "
        f"({len(answer.body)} bytes, {snippet}). Try later."
    )


def _short(value: object) -> str:
    """Quote what others sent, on one short line of plain ASCII."""
    return ascii(str(value)[:_SNIPPET])
