"""Feedback in a table, three times over: by id, by trace, by day."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway.adapters import records_azure_keys as keys
from gateway.adapters.azure_storage import StorageThreads, quoted
from gateway.adapters.records_azure_tables import FEEDBACK, batches
from gateway.core.ports import Feedback


class FeedbackTable:
    def __init__(self, threads: StorageThreads) -> None:
        self._threads = threads

    def put(self, items: Sequence[Feedback]) -> None:
        entities = [entity for item in items for entity in _entities(item)]
        for batch in batches(entities):
            self._threads.table(FEEDBACK).submit_transaction(batch)

    def get(self, id: str) -> Feedback | None:
        where = f"PartitionKey eq {quoted('i-' + keys.trace_partition(id))}"
        return next(iter(self._read(where)), None)

    def list(self, trace_id: str | None, since: float | None, until: float | None) -> list[Feedback]:
        if trace_id is not None:
            where = f"PartitionKey eq {quoted('t-' + keys.trace_partition(trace_id))}"
        else:
            where = f"PartitionKey ge {quoted('d-' + keys.day(since or 0))} and PartitionKey lt 'd-~'"
            if until is not None:
                where += f" and PartitionKey le {quoted('d-' + keys.day(until))}"
        found = [
            item
            for item in self._read(where)
            if (since is None or item.created_at >= since) and (until is None or item.created_at < until)
        ]
        return sorted(found, key=lambda item: (item.created_at, item.id))

    def purge(self, before: float) -> None:
        # Feedback is little: the days' rows tell what else to delete.
        where = f"PartitionKey ge 'd-' and PartitionKey le {quoted('d-' + keys.day(before))}"
        old = [item for item in self._read(where) if item.created_at < before]
        doomed = [_keys(entity) for item in old for entity in _entities(item)]
        for batch in batches(doomed, "delete"):
            self._threads.table(FEEDBACK).submit_transaction(batch)

    def _read(self, where: str) -> Iterable[Feedback]:
        for entity in self._threads.table(FEEDBACK).query_entities(where):
            yield Feedback(*orjson.loads(entity["item"]))


def _entities(item: Feedback) -> list[dict[str, Any]]:
    fields = (item.id, item.trace_id, item.created_at, item.value, item.weight, item.metadata)
    row = f"{keys.micros(item.created_at):016d}-{keys.trace_partition(item.id)}"
    partitions = (
        *("i-" + keys.trace_partition(item.id), "t-" + keys.trace_partition(item.trace_id)),
        "d-" + keys.day(item.created_at),
    )
    text = orjson.dumps(fields).decode()
    return [{"PartitionKey": partition, "RowKey": row, "item": text} for partition in partitions]


def _keys(entity: dict[str, Any]) -> dict[str, Any]:
    return {"PartitionKey": entity["PartitionKey"], "RowKey": entity["RowKey"]}
