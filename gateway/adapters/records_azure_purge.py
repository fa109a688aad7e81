"""Deletes what is past its time from the log's tables and blobs."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from gateway.adapters import records_azure_keys as keys
from gateway.adapters.azure_storage import StorageThreads, quoted
from gateway.adapters.records_azure_feedback import FeedbackTable
from gateway.adapters.records_azure_tables import RECORDS, TOTALS, TRACES, batches

T = TypeVar("T")

_CHUNK = 5000  # rows held at once
_BLOBS_AT_ONCE = 256  # the service's limit of a batch


def purge(threads: StorageThreads, feedback: FeedbackTable, before: float) -> int:
    """The number of records deleted. Done in part, it goes on where it stopped when it is called again."""
    at = keys.micros(before)
    partition, row = quoted(keys.partition(at)), quoted(keys.row(at) + "~")
    where = f"PartitionKey gt {partition} or (PartitionKey eq {partition} and RowKey gt {row})"
    fields = ["PartitionKey", "RowKey", "trace_id", "id"]
    deleted = 0
    for chunk in _chunks(threads.table(RECORDS).query_entities(where, select=fields), _CHUNK):
        _delete(threads, TRACES, [_trace_keys(row) for row in chunk if row.get("trace_id") != row["id"]])
        _delete(threads, RECORDS, [_keys(row) for row in chunk])
        deleted += len(chunk)
    for seconds in (60, 3600):
        _purge_totals(threads, seconds, before)
    feedback.purge(before)
    _purge_blobs(threads, before)
    return deleted


def _purge_totals(threads: StorageThreads, seconds: int, before: float) -> None:
    last = f"{seconds}-{keys.day(before)}"
    where = f"PartitionKey ge {quoted(f'{seconds}-')} and PartitionKey le {quoted(last)}"
    rows = threads.table(TOTALS).query_entities(where, select=["PartitionKey", "RowKey"])
    old = (row for row in rows if int(row["RowKey"][:10]) + seconds <= before)
    for chunk in _chunks(old, _CHUNK):
        _delete(threads, TOTALS, [_keys(row) for row in chunk])


def _purge_blobs(threads: StorageThreads, before: float) -> None:
    """Blobs are named by the hour of their newest record, in the order of time."""
    folder = keys.blob_folder(before)
    names = (blob.name for blob in threads.blobs().list_blobs(name_starts_with="bodies/"))
    for chunk in _chunks(_until(names, folder), _BLOBS_AT_ONCE):
        threads.blobs().delete_blobs(*chunk)


def _until(names: Iterable[str], end: str) -> Iterator[str]:
    for name in names:
        if name >= end:
            return
        yield name


def _delete(threads: StorageThreads, table: str, rows: list[dict[str, Any]]) -> None:
    from azure.data.tables import TableTransactionError

    for batch in batches(rows, "delete"):
        try:
            threads.table(table).submit_transaction(batch)
        except TableTransactionError as error:
            if error.status_code != 404:
                raise
            # One row was gone already, and undid the others: delete each by itself.
            for _, entity in batch:
                threads.table(table).delete_entity(entity)


def _keys(row: Any) -> dict[str, Any]:
    return {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}


def _trace_keys(row: Any) -> dict[str, Any]:
    return {"PartitionKey": keys.trace_partition(row.get("trace_id") or ""), "RowKey": row["RowKey"]}


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
