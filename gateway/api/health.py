"""`/v1/health/targets`: which targets are passed over now, until when and why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.api.routing import ApiRequest, Route, listing
from gateway.core.health import HealthBoard


class HealthApi:
    """What this instance knows, its own findings and the other instances'."""

    def __init__(self, board: HealthBoard) -> None:
        self._board = board

    def routes(self) -> Sequence[Route]:
        return (Route("GET", "/health/targets", "health.read", self.targets),)

    async def targets(self, request: ApiRequest) -> dict[str, Any]:
        """Targets that are well are not listed."""
        return listing([_shown(row) for row in self._board.snapshot()])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    until = datetime.fromtimestamp(row["until"], UTC).isoformat(timespec="milliseconds")
    return {**row, "until_at": until.replace("+00:00", "Z"), "object": "target-health"}
