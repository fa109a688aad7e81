"""`python -m gateway logs`: what a gateway has served, of late or as it happens."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx

from gateway.cli.client import add_options, call, connect
from gateway.core.log_query import parse_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

_FILTERS = {"status": "status_code", "virtual_key": "virtual_keys", "model": "model", "user": "user"}
_POLL_SECONDS = 1.0
_WINDOW = 600  # seconds back that a tail looks for rows that came late: a long stream is written at its end
_MOST = 1000


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("logs", help="list, follow and show requests")
    parser.add_argument("id", nargs="?", help="show one request whole")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl+C")
    parser.add_argument("-n", "--limit", type=int, default=20, help="how many (20)")
    parser.add_argument("--trace", metavar="ID", help="the tree of a trace")
    parser.add_argument("--status", help="status codes, comma-separated: 429,500")
    parser.add_argument("--virtual-key", help="virtual keys, comma-separated")
    parser.add_argument("--model", help="models, comma-separated")
    parser.add_argument("--user", help="users, comma-separated")
    parser.add_argument("--since", help="a time: 2026-01-31T12:00:00Z")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, sleep: Callable[[float], None] = time.sleep) -> int:
    from rich.console import Console

    console = Console(highlight=False)
    with connect(options) as client:
        if options.id or options.trace:
            path = f"/logs/{options.id}" if options.id else f"/traces/{options.trace}"
            found = call(client, "GET", path)
            if options.json or options.id:
                print(json.dumps(found.get("data", found), indent=2))
            else:
                console.print(trace_tree(found))
            return 0
        try:
            _print(console, rows(client, options, sleep), options.json)
        except KeyboardInterrupt:
            return 0
    return 0


def rows(
    client: httpx.Client, options: argparse.Namespace, sleep: Callable[[float], None]
) -> Iterator[Mapping[str, Any]]:
    """The last rows, oldest first, and with `--follow` each that comes after them, without end."""
    query = {name: value for option, name in _FILTERS.items() if (value := getattr(options, option))}
    if options.since:
        query["since"] = options.since
    limit = max(1, min(_MOST, options.limit))
    first = call(client, "GET", "/logs", params={**query, "page_size": limit})["data"]
    yield from reversed(first)
    if not options.follow:
        return
    tail = _Tail(first, parse_time("since", options.since) if options.since else 0.0)
    while True:
        sleep(_POLL_SECONDS)
        yield from reversed(tail.new(lambda since: _pages(client, {**query, "since": str(since)})))


class _Tail:
    """Tells which rows are new. A row may come after newer ones, as it is written at its end."""

    def __init__(self, shown: list[Mapping[str, Any]], start: float) -> None:
        self._seen = {row["_id"]: _time(row) for row in shown}
        # What came before the first row shown is not new.
        self._start = max(start, min(self._seen.values(), default=0.0))

    def new(self, read: Callable[[float], list[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
        """The new ones of what `read` gives from a time on, newest first."""
        since = max(self._start, max(self._seen.values(), default=0.0) - _WINDOW)
        found = [row for row in read(since) if row["_id"] not in self._seen]
        self._seen = {id: at for id, at in self._seen.items() if at >= since}
        self._seen.update((row["_id"], _time(row)) for row in found)
        return found


def _time(row: Mapping[str, Any]) -> float:
    return parse_time("created_at", row["metrics"]["created_at"])


def _pages(client: httpx.Client, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = call(client, "GET", "/logs", params={**query, **cursor, "page_size": _MOST})
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def _print(console: "Console", found: Iterator[Mapping[str, Any]], as_json: bool) -> None:
    if not as_json:
        console.print(f"[bold]{_line(_HEAD)}[/]", soft_wrap=True)
    for row in found:
        if as_json:
            print(json.dumps(row), flush=True)
        else:
            console.print(_styled(row), soft_wrap=True)
    sys.stdout.flush()


_HEAD = ("time", "status", "ms", "tokens", "cents", "model", "virtual key", "path", "id")
_WIDTHS = (23, 6, 9, 8, 10, 24, 18, 28, 36)


def _styled(row: Mapping[str, Any]) -> Any:
    from rich.text import Text

    metrics = row["metrics"]
    status = metrics["response_status_code"] or 0
    style = "red" if status >= 500 else "yellow" if status >= 400 or not metrics["is_success"] else ""
    # Text, not markup: what clients name their models must not colour the terminal.
    return Text(_line(cells(metrics)), style=style)


def cells(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """A row's columns; an unknown price is a question mark."""
    cost, tokens = metrics["cost"], metrics["total_units"]
    return (
        metrics["created_at"].replace("T", " ").removesuffix("Z"),
        str(metrics["response_status_code"]) + ("" if metrics.get("complete", True) else "!"),
        f"{metrics['response_time'] or 0:.0f}",
        "-" if tokens is None else str(tokens),
        "?" if cost is None else f"{cost:.5f}",
        metrics["ai_model"] or "-",
        metrics["virtual_key"] or "-",
        metrics["request_url"] or "-",
        metrics["id"],
    )


def _line(columns: tuple[str, ...]) -> str:
    plain = ("".join(c if c.isprintable() else "?" for c in column) for column in columns)
    return " ".join(f"{column:<{width}}" for column, width in zip(plain, _WIDTHS, strict=True)).rstrip()


def trace_tree(trace: Mapping[str, Any]) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    head = f"trace {trace['trace_id']}: {trace['total_spans']} spans, {trace.get('duration', 0):.0f} ms"
    tree = Tree(Text(head))
    for span in trace["spans"]:
        _branch(tree, span)
    for item in trace["feedback"]:
        tree.add(Text(f"feedback {item['value']} x {item['weight']}"))
    return tree


def _branch(tree: "Tree", span: Mapping[str, Any]) -> None:
    from rich.text import Text

    label = f"{span['span_name']}  {span['status']}  {span['duration'] or 0:.0f} ms  {span['model'] or ''}"
    branch = tree.add(Text(label, style="" if span["is_success"] else "red"))
    for attempt in span["attempts"]:
        outcome = attempt.get("status") or attempt.get("error") or attempt.get("skipped")
        branch.add(Text(f"{attempt['target']}  {outcome}  {attempt['duration'] or 0:.0f} ms", style="dim"))
    for child in span["children"]:
        _branch(branch, child)
