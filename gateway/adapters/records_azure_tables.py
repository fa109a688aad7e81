"""The log's tables: their names, transactions, and ranges of rows."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gateway.adapters.azure_storage import quoted

if TYPE_CHECKING:
    from azure.data.tables import TableClient

RECORDS, TRACES, TOTALS, FEEDBACK = ("gatewayrecords", "gatewaytraces", "gatewaytotals", "gatewayfeedback")
TABLES = (RECORDS, TRACES, TOTALS, FEEDBACK)

# A transaction: 100 rows of one partition, 4 MiB. Binary goes as base64.
_MOST_ROWS = 100
_MOST_BYTES = 2_500_000

Operation = tuple[str, dict[str, Any]]


def batches(entities: Iterable[dict[str, Any]], verb: str = "upsert") -> Iterator[list[Any]]:
    """Operations in transactions, each of one partition; of rows with the same keys the last stays."""
    partitions: dict[str, dict[str, dict[str, Any]]] = {}
    for entity in entities:
        partitions.setdefault(entity["PartitionKey"], {})[entity["RowKey"]] = entity
    for rows in partitions.values():
        batch: list[Any] = []
        size = 0
        for entity in rows.values():
            weight = 1000 + sum(len(v) for v in entity.values() if isinstance(v, bytes | str))
            if batch and (len(batch) == _MOST_ROWS or size + weight > _MOST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append((verb, entity, {"mode": "replace"}) if verb == "upsert" else (verb, entity))
            size += weight
        if batch:
            yield batch


def rows_between(table: "TableClient", partition: str, least: str, before: str) -> Iterator[Any]:
    where = (
        f"PartitionKey eq {quoted(partition)} and RowKey ge {quoted(least)} and RowKey lt {quoted(before)}"
    )
    return iter(table.query_entities(where))
