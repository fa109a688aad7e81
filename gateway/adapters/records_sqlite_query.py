"""A query of the log as SQL.

SQLite without statistics may pick an index that reads the whole table, so the index is picked here:
the filter that is met by the fewest rows leads, one ordered sub-select for each of its values, and
SQLite merges them. All are ordered by (at, seq), newest first, where every index ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.core.log_query import LogQuery, Range
from gateway.core.paging import decode_cursor

Ask = Callable[[str, list[Any]], int]

_INDEXED = ("trace_id", "status", "virtual_key", "caller_id", "model")
_ENOUGH = 2000  # rows: a filter that meets more is not worth counting further
_MOST_VALUES = 20  # sub-selects; more values than that are a plain filter


@dataclass(frozen=True, slots=True)
class _Lead:
    """A sub-select's source: its table and index, and the clause with its values."""

    source: str
    row: str  # alias of the table whose index leads
    clause: str
    values: list[Any]


def select(query: LogQuery, ask: Ask) -> tuple[str, list[Any]]:
    """SQL for one row more than a page, as (at, seq). `ask` runs a statement that gives one number."""
    leads, led_by = _leads(query, ask)
    parts, values = [], []
    for lead in leads:
        clauses, clause_values = _clauses(query, lead.row, led_by)
        where = " AND ".join([lead.clause, *clauses])
        parts.append(f"SELECT {lead.row}.at AS at, {lead.row}.seq AS seq FROM {lead.source} WHERE {where}")  # noqa: S608
        values += [*lead.values, *clause_values]
    sql = " UNION ALL ".join(parts)
    return f"{sql} ORDER BY at DESC, seq DESC LIMIT {query.page_size + 1}", values


def _leads(query: LogQuery, ask: Ask) -> tuple[list[_Lead], tuple[str, str] | None]:
    """The sub-selects, and which filter they stand for."""
    best: tuple[int, list[_Lead], tuple[str, str] | None] = (_ENOUGH * _MOST_VALUES, [_plain()], None)
    for key, leads in _candidates(query):
        count = sum(_count(lead, ask) for lead in leads)
        if count < best[0]:
            best = (count, leads, key)
    return best[1], best[2]


def _plain() -> _Lead:
    return _Lead("records r INDEXED BY records_at", "r", "1", [])


def _candidates(query: LogQuery) -> Iterator[tuple[tuple[str, str], list[_Lead]]]:
    for column in _INDEXED:
        values = query.one_of.get(column)
        if values and len(values) <= _MOST_VALUES:
            source = f"records r INDEXED BY records_{column}"
            yield ("column", column), [_Lead(source, "r", f"r.{column} = ?", [value]) for value in values]
    for name, value in query.metadata.items():
        source = "labels l CROSS JOIN records r ON r.seq = l.seq"
        yield ("label", name), [_Lead(source, "l", "l.name = ? AND l.value = ?", [name, value])]


def _count(lead: _Lead, ask: Ask) -> int:
    source = lead.source.partition(" CROSS JOIN")[0]
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {lead.clause} LIMIT {_ENOUGH})"  # noqa: S608
    return ask(sql, lead.values)


def _clauses(query: LogQuery, row: str, led_by: tuple[str, str] | None) -> tuple[list[str], list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []

    def add(clause: str, *more: Any) -> None:
        clauses.append(clause)
        values.extend(more)

    if query.since is not None:
        add(f"{row}.at >= ?", round(query.since * 1e6))
    if query.until is not None:
        add(f"{row}.at < ?", round(query.until * 1e6))
    if query.cursor is not None:
        place = decode_cursor(query.cursor, int, int)
        add(f"({row}.at, {row}.seq) < (?, ?)", *place)
    for column, allowed in query.one_of.items():
        if led_by != ("column", column):
            add(f"r.{column} IN ({_marks(len(allowed))})", *allowed)
    for column, limits in query.within.items():
        add(*_between(f"r.{column}", limits))
    for name, value in query.metadata.items():
        if led_by != ("label", name):
            exact = "m.name = ? AND m.value = ? AND m.at = r.at AND m.seq = r.seq"
            add(f"EXISTS (SELECT 1 FROM labels m WHERE {exact})", name, value)  # noqa: S608
    if query.provider_models:
        pairs = " OR ".join(["r.provider = ? AND r.model = ?"] * len(query.provider_models))
        add(f"({pairs})", *(item for pair in query.provider_models for item in pair))
    if query.feedback is not None:
        having, *weights = _between("avg(value * weight)", query.feedback)
        inner = f"SELECT trace_id FROM feedback GROUP BY trace_id HAVING {having}"  # noqa: S608
        add(f"r.trace_id IN ({inner})", *weights)
    return clauses, values


def _between(what: str, limits: Range) -> tuple[Any, ...]:
    least, most = limits
    if least is None:
        return f"{what} <= ?", most
    return (f"{what} >= ?", least) if most is None else (f"{what} BETWEEN ? AND ?", least, most)


def _marks(count: int) -> str:
    return ", ".join("?" * count)
