"""Reads pages of the log from Azure Tables.

The tables have one index, the keys. A query by trace takes the index of traces; any other reads the range
of its times, newest first, while the service filters; what the service cannot tell is filtered here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.adapters import records_azure_keys as keys
from gateway.adapters.azure_storage import StorageThreads, quoted, unpack
from gateway.adapters.records_azure_feedback import FeedbackTable
from gateway.adapters.records_azure_tables import RECORDS, TRACES, rows_between
from gateway.core.log_query import LogQuery, inside, matches
from gateway.core.paging import decode_cursor, encode_cursor
from gateway.core.ports import RecordPage

# Answers of the service that one page may take; each may be empty and still cost seconds of scanning.
_MOST_ANSWERS = 20
_MOST_OF_TRACE = 10_000  # rows
_MOST_VALUES = 15  # of a filter that the service is given; its filters may have few terms

Row = tuple[str, str, Mapping[str, Any]]  # partition, row key, the record


@dataclass(frozen=True, slots=True)
class Reader:
    threads: StorageThreads
    feedback: FeedbackTable

    def page(self, query: LogQuery) -> RecordPage:
        place = _place(query)
        wanted = self._wanted(query)
        if "trace_id" in query.one_of:
            return self._page_of_traces(query, wanted, place)
        return self._page_of_range(query, wanted, place)

    def find(self, id: str) -> Any:
        """A record's entity by its id; None when there is none."""
        span = keys.range_of(id)
        if span is None:
            return None
        partition, least, most = span
        for part in dict.fromkeys((partition, keys.partition_of_row(least))):
            for entity in rows_between(self.threads.table(RECORDS), part, least, most):
                if entity["id"] == id:
                    return entity
        return None

    def _wanted(self, query: LogQuery) -> "_Wanted":
        if query.feedback is None:
            return _Wanted(query, None)
        weights: dict[str, list[float]] = {}
        for item in self.feedback.list(None, None, None):
            weights.setdefault(item.trace_id, []).append(item.value * item.weight)
        traces = {
            trace for trace, found in weights.items() if inside(sum(found) / len(found), query.feedback)
        }
        return _Wanted(query, frozenset(traces))

    def _page_of_range(self, query: LogQuery, wanted: "_Wanted", place: tuple[str, str] | None) -> RecordPage:
        pages = (
            self.threads.table(RECORDS)
            .query_entities(_filter(query, place), results_per_page=min(1000, query.page_size + 1))
            .by_page()
        )
        rows: list[Row] = []
        last: tuple[str, str] | None = None
        for _ in range(_MOST_ANSWERS):
            answer = next(pages, None)
            if answer is None:
                return _page(rows, query.page_size, None)
            for entity in answer:
                last = (entity["PartitionKey"], entity["RowKey"])
                if (doc := wanted.doc(entity)) is not None:
                    rows.append((*last, doc))
                    if len(rows) > query.page_size:
                        return _page(rows, query.page_size, None)
            token = pages.continuation_token  # type: ignore[attr-defined]
            last = _before(token) or last
        return _page(rows, query.page_size, last)

    def _page_of_traces(
        self, query: LogQuery, wanted: "_Wanted", place: tuple[str, str] | None
    ) -> RecordPage:
        rows = []
        for trace_id in query.one_of["trace_id"]:
            for entity in self._of_trace(str(trace_id)):
                found = (entity["PartitionKey"], entity["RowKey"])
                if (place is None or found > place) and (doc := wanted.doc(entity)) is not None:
                    rows.append((*found, doc))
        rows.sort(key=lambda row: row[:2])
        return _page(rows[: query.page_size + 1], query.page_size, None)

    def _of_trace(self, trace_id: str) -> Iterator[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        alone = self.find(trace_id)  # a trace that the gateway named is named as its first record
        if alone is not None and alone.get("trace_id") == trace_id:
            yield alone
        partition = keys.trace_partition(trace_id)
        index = self.threads.table(TRACES).query_entities(f"PartitionKey eq {quoted(partition)}")
        for number, entity in enumerate(index):
            if number >= _MOST_OF_TRACE:
                return
            row = entity["RowKey"]
            try:
                yield self.threads.table(RECORDS).get_entity(keys.partition_of_row(row), row)
            except ResourceNotFoundError:
                continue  # purged, or not written yet


@dataclass(frozen=True, slots=True)
class _Wanted:
    query: LogQuery
    traces: frozenset[str] | None  # that the feedback's filter lets through

    def doc(self, entity: Mapping[str, Any]) -> Mapping[str, Any] | None:
        doc = orjson.loads(unpack(entity))
        if self.traces is not None and doc["trace_id"] not in self.traces:
            return None
        return doc if matches(self.query, doc) else None


def _place(query: LogQuery) -> tuple[str, str] | None:
    """Where to go on: after these keys."""
    if query.cursor is None:
        return None
    partition, row = decode_cursor(query.cursor, str, str)
    return str(partition), str(row)


def _page(rows: list[Row], size: int, resume: tuple[str, str] | None) -> RecordPage:
    shown = rows[:size]
    if len(rows) > size:
        resume = shown[-1][:2]
    return RecordPage([doc for _, _, doc in shown], encode_cursor(*resume) if resume else None)


def _before(token: Any) -> tuple[str, str] | None:
    """The place just before the row that a continuation names; its keys are the next row's."""
    if not isinstance(token, Mapping) or not token.get("PartitionKey"):
        return None
    row = str(token.get("RowKey") or "")
    # No key of ours lies between a row's key without its last character and the row itself.
    return str(token["PartitionKey"]), row[:-1]


def _filter(query: LogQuery, place: tuple[str, str] | None) -> str:
    terms = ["PartitionKey ge ''"]
    if query.until is not None:
        terms.append(f"PartitionKey ge {quoted(keys.partition(keys.micros(max(0.0, query.until))))}")
    if query.since is not None:
        terms.append(f"PartitionKey le {quoted(keys.partition(keys.micros(max(0.0, query.since))))}")
    if place is not None:
        partition, row = map(quoted, place)
        terms.append(f"(PartitionKey gt {partition} or (PartitionKey eq {partition} and RowKey gt {row}))")
    for name, values in query.one_of.items():
        if len(values) <= _MOST_VALUES:
            terms.append(
                "(" + " or ".join(f"{name} eq {_literal(value)}" for value in sorted(values, key=str)) + ")"
            )
    for name, (least, most) in query.within.items():
        terms += [f"{name} ge {float(least)!r}"] if least is not None else []
        terms += [f"{name} le {float(most)!r}"] if most is not None else []
    return " and ".join(terms)


def _literal(value: str | int) -> str:
    return quoted(value) if isinstance(value, str) else str(value)
