"""Feedback over HTTP."""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.api.routing import ApiRequest, Route
from gateway.core.errors import NotFound
from gateway.core.feedback import changed, feedback_of
from gateway.core.ports import RecordStore


class FeedbackApi:
    """Handlers of `/v1/feedback`. `new_id` makes a unique id."""

    def __init__(self, records: RecordStore, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._records, self._clock, self._new_id = records, clock, new_id

    def routes(self) -> Sequence[Route]:
        # Whoever may ask a model may judge its answer.
        return (
            Route("POST", "/feedback", "completions.write", self.create),
            Route("PUT", "/feedback/{id}", "completions.write", self.update),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        items = feedback_of(request.json(), self._clock(), self._new_id)
        await self._records.put_feedback(items)
        return _done("saved", [item.id for item in items])

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        old = await self._records.get_feedback(request.params["id"])
        if old is None:
            raise NotFound(f"no feedback {request.params['id']!r:.80}", param="id")
        await self._records.put_feedback([changed(old, request.json())])
        return _done("updated", [old.id])


def _done(verb: str, ids: list[str]) -> dict[str, Any]:
    return {"status": "success", "message": f"feedback {verb}", "feedback_ids": ids, "success": True}
