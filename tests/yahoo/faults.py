"""What can go wrong with an answer; each fault turns a good chart into a reply.

`SPECIAL` names the tickers that always fail, for those who run the server as a process.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Chart = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes over the wire; `kept_bytes` of the body, then the connection is cut.

    `claimed_more` is by how many bytes the header overstates the body; a body that drips comes
    in pieces of 200 bytes, with a pause after each.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    kept_bytes: int | None = None
    claimed_more: int = 0
    drip_seconds: float = 0.0

    @property
    def pieces(self) -> list[bytes]:
        """What is written at once."""
        body = self.body[: self.kept_bytes]
        size = 200 if self.drip_seconds else max(len(body), 1)
        return [body[begin : begin + size] for begin in range(0, len(body), size)]


Fault = Callable[[Chart], Reply]


def fine(chart: Chart) -> Reply:
    return Reply(body=json.dumps(chart).encode(), headers={"Content-Type": "application/json"})


def status(code: int, body: bytes = b"trouble", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda chart: Reply(status=code, body=body, headers=named)


def limited(retry_after: str | None = None) -> Fault:
    headers = {"Retry_After": retry_after} if retry_after is not None else {}
    return status(429, b"Too Many Requests", **headers)


def body(content: bytes) -> Fault:
    return status(200, content)


def explained(code: int, name: str, description: str) -> Fault:
    error = {"code": name, "description": description}
    return status(code, json.dumps({"chart": {"result": None, "error": error}}).encode())


def slow(seconds: float) -> Fault:
    return lambda chart: Reply(body=fine(chart).body, delay_seconds=seconds)


def dripping(seconds: float) -> Fault:
    return lambda chart: Reply(body=fine(chart).body, drip_seconds=seconds)


def claiming(more: int) -> Fault:
    """Say in the header that the body is longer than it is, or shorter."""

    def fault(chart: Chart) -> Reply:
        whole = fine(chart).body
        return Reply(body=whole, kept_bytes=len(whole), claimed_more=more)

    return fault


def truncated(chart: Chart) -> Reply:
    whole = fine(chart).body
    return Reply(body=whole[: len(whole) // 2])


def cut(chart: Chart) -> Reply:
    whole = fine(chart).body
    return Reply(body=whole, kept_bytes=len(whole) // 2)


def edited(edit: Callable[[dict[str, Any]], None]) -> Fault:
    """Build a fault that edits a copy of chart.result[0] in place."""

    def fault(chart: Chart) -> Reply:
        copy = deepcopy(chart)
        edit(copy["chart"]["result"][0])
        return fine(copy)

    return fault


def null_row(position: int) -> Fault:
    """Take the prices of one day away and leave its volume, as Yahoo does."""

    def edit(result: dict[str, Any]) -> None:
        if "timestamp" in result and len(result["timestamp"]) > 1:
            for name in ("open", "high", "low", "close"):
                result["indicators"]["quote"][0][name][position] = None

    return edited(edit)


def _live(result: dict[str, Any]) -> None:
    """Stamp the last bar with its last trade, half an hour after the open."""
    if "timestamp" in result:
        result["timestamp"][-1] += 1800


def _live_beside(result: dict[str, Any]) -> None:
    """Send today twice: as a bar of its own and, half an hour on, as the live one."""
    if "timestamp" in result:
        result["timestamp"].append(result["timestamp"][-1] + 1800)
        for table in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
            for values in table.values():
                values.append(values[-1] * 1.01)


def symbol(name: str | None) -> Fault:
    return edited(lambda result: result["meta"].update(symbol=name))


elsewhere = status(302, b"", Location="/elsewhere")
gone = explained(404, "Not Found", "No data found, symbol may be delisted")
before_listing = explained(400, "Bad Request", "Data doesn't exist for startDate = 1, endDate = 2")
empty = body(b'{"chart": {"result": [], "error": null}}')
html = body(b"<html><body>Please consent</body></html>")
live = edited(_live)
live_beside = edited(_live_beside)
no_quotes = edited(lambda result: result["indicators"].update(quote=[{}]))
no_rows = edited(lambda result: result.pop("timestamp", None))


def last_price(factor: float) -> Fault:
    """Multiply the prices of the last day: by 0, by -1, by 100 for pence, by infinity."""

    def edit(result: dict[str, Any]) -> None:
        if "timestamp" in result:
            for name in ("open", "high", "low", "close"):
                values = result["indicators"]["quote"][0][name]
                values[-1] *= factor

    return edited(edit)


def _tomorrow(result: dict[str, Any]) -> None:
    """Send a bar of a day that has not come, too."""
    if "timestamp" in result:
        result["timestamp"].append(result["timestamp"][-1] + 7 * 86_400)
        for table in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
            for values in table.values():
                values.append(values[-1])


def _older_half(result: dict[str, Any]) -> None:
    """Forget the newer half of the days."""
    if "timestamp" in result:
        kept = len(result["timestamp"]) // 2 + 1
        del result["timestamp"][kept:]
        for table in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
            for values in table.values():
                del values[kept:]


def _milliseconds(result: dict[str, Any]) -> None:
    """Stamp every bar in milliseconds."""
    if "timestamp" in result:
        result["timestamp"] = [1000 * stamp for stamp in result["timestamp"]]


def last_value(name: str, value: Any) -> Fault:
    """Set one number of the last day."""

    def edit(result: dict[str, Any]) -> None:
        if "timestamp" in result:
            result["indicators"]["quote"][0][name][-1] = value

    return edited(edit)


def _tables(result: dict[str, Any]) -> list[dict[str, list[Any]]]:
    """Return the tables of an answer whose columns have a value for each stamp."""
    indicators = result["indicators"]
    return [*indicators["quote"], *indicators.get("adjclose", [])]


def _weekly(result: dict[str, Any]) -> None:
    """Send a bar in five."""
    if len(result.get("timestamp", ())) > 1:
        columns = [column for table in _tables(result) for column in table.values()]
        for values in (result["timestamp"], *columns):
            values[:] = values[::-5][::-1]


def _tenfold(result: dict[str, Any]) -> None:
    """Send a block of days inside the answer in another unit."""
    if len(result.get("timestamp", ())) > 6:
        for name in ("open", "high", "low", "close"):
            values = result["indicators"]["quote"][0][name]
            values[-5:-2] = [10 * value for value in values[-5:-2]]


def _lost_split(result: dict[str, Any]) -> None:
    """Forget a split and with it what it did to the prices before."""
    for stamp, split in result.get("events", {}).pop("splits", {}).items():
        before = sum(one < int(stamp) for one in result["timestamp"])
        for name in ("open", "high", "low", "close"):
            values = result["indicators"]["quote"][0][name]
            ratio = split["numerator"] / split["denominator"]
            values[:before] = [ratio * value for value in values[:before]]


def _no_volume(result: dict[str, Any]) -> None:
    """Send zeros for volumes."""
    for table in result["indicators"]["quote"]:
        if "volume" in table:
            table["volume"] = [0] * len(table["volume"])


tomorrow = edited(_tomorrow)
older_half = edited(_older_half)
no_events = edited(lambda result: result.pop("events", None))

# What may happen to any call, and what to a chart alone; slow ones for a client of little patience.
WIRE: dict[str, Fault] = {
    "429": limited(),
    "429, wait 600 s": limited("600"),
    "401": status(401),
    "403": status(403),
    "500": status(500),
    "503": status(503, b""),
    "elsewhere": elsewhere,
    "to a stranger": status(302, b"", Location="http://127.0.0.1:9/v8/finance/chart/AAPL"),
    "html": html,
    "nothing": body(b""),
    "deep": body(b"[" * 100_000),
    "too long": body(b" " * 2**21),
    "not UTF-8": body(b"\xff\xfe\x00"),
    "truncated": truncated,
    "cut": cut,
    "claims more": claiming(500),
    "claims less": claiming(-1),
    "slow": slow(2.0),
    "dripping": dripping(0.5),
}
CHARTS: dict[str, Fault] = {
    "gone": gone,
    "before listing": before_listing,
    "empty": empty,
    "no rows": no_rows,
    "no quotes": no_quotes,
    "other symbol": symbol("ELSE"),
    "no symbol": symbol(None),
    "null last": null_row(-1),
    "null first": null_row(0),
    "live": live,
    "live beside": live_beside,
    "tomorrow": tomorrow,
    "older half": older_half,
    "no events": no_events,
    "zero": last_price(0.0),
    "negative": last_price(-1.0),
    "pence": last_price(100.0),
    "infinite": last_price(float("inf")),
    "first trade": edited(lambda result: result["meta"].update(firstTradeDate=-(10**12))),
    "periods": edited(lambda result: result["meta"].update(currentTradingPeriod=[])),
    "milliseconds": edited(_milliseconds),
    "close in words": last_value("close", "12,5"),
    "close nested": last_value("close", {"raw": 12.5}),
    "huge volume": last_value("volume", 1e308),
    "endless volume": last_value("volume", float("inf")),
    "weekly": edited(_weekly),
    "tenfold": edited(_tenfold),
    "lost split": edited(_lost_split),
    "no volume": edited(_no_volume),
    "false jump": last_price(0.65),
}

SPECIAL: dict[str, Fault] = {
    "LIMIT": limited(),
    "LIMIT60": limited("60"),
    "DOWN": status(500),
    "HTML": html,
    "TRUNC": truncated,
    "CUT": cut,
    "SLOW": slow(60.0),
    "EMPTY": empty,
    "GONE": gone,
    "OTHER": symbol("ELSE"),
    "NULL": null_row(-1),
    "LIVE": live,
}
