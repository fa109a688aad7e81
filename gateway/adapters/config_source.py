"""Where a request's config comes from: the header's JSON, or the library by slug."""

from gateway.adapters.saved_configs import SavedConfigs
from gateway.core.config import DEFAULT_LIMITS, Compiled, ConfigCache
from gateway.core.config_checks import ConfigLimits

_JSON = ("{", "[", '"')  # JSON, right or wrong: no slug begins like it


class ConfigSource:
    """Compiles each distinct inline config once; saved ones are known for some seconds."""

    def __init__(self, library: SavedConfigs, limits: ConfigLimits = DEFAULT_LIMITS) -> None:
        self._library = library
        self._inline = ConfigCache(limits)

    async def compiled(self, text: str) -> Compiled:
        """`InvalidConfig` for JSON that is no config, `NotFound` for a slug that is no one's."""
        text = text.strip()
        if text.startswith(_JSON):
            return self._inline.get(_utf8(text))
        return (await self._library.resolve(text)).compiled

    async def identity(self, text: str) -> tuple[str, int] | None:
        """Slug and version of a saved config, None of inline JSON."""
        text = text.strip()
        if text.startswith(_JSON):
            return None
        saved = await self._library.resolve(text)
        return saved.slug, saved.version


def _utf8(text: str) -> str:
    """Header values arrive as Latin-1; the JSON in them is UTF-8 as often as not."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
