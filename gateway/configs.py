"""Where a request's config comes from, before saved ones: the header itself."""

from collections import OrderedDict

from gateway.core.config import Compiled, compile_config
from gateway.core.errors import NotFound

_MOST = 1000  # compiled configs kept


class InlineConfigs:
    """Compiles inline JSON, once for each distinct text."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, Compiled] = OrderedDict()

    async def compiled(self, text: str) -> Compiled:
        if not text.lstrip().startswith("{"):
            raise NotFound(f"config {text[:80]!r} does not exist", code="config_not_found", param="config")
        known = self._compiled.get(text)
        if known is None:
            known = self._compiled[text] = compile_config(text)
            if len(self._compiled) > _MOST:
                self._compiled.popitem(last=False)
        return known

    async def identity(self, text: str) -> tuple[str, int] | None:
        return None
