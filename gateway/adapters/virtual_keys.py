"""Virtual keys out of the vault, parsed once for each version of their secret."""

from collections import OrderedDict

from gateway.adapters.secret_cache import SecretCache
from gateway.core.errors import GatewayError
from gateway.core.virtual_key import VirtualKey, check_slug, secret_name, unknown_slug
from gateway.core.virtual_key_input import parse

_MOST = 2000  # parsed keys kept


class VirtualKeys:
    """Reads virtual keys by slug, from memory mostly."""

    def __init__(self, secrets: SecretCache) -> None:
        self._secrets = secrets
        self._parsed: OrderedDict[str, tuple[str, VirtualKey]] = OrderedDict()

    async def read(self, slug: str) -> VirtualKey:
        """Raises `NotFound` for an unknown slug, `StoreUnavailable` when the vault cannot say."""
        known = self._parsed.get(slug)
        secret = self._secrets.peek(secret_name(slug)) if known else None
        if secret is None:
            secret = await self._secrets.get(secret_name(check_slug(slug)))
        if secret is None:
            self._parsed.pop(slug, None)
            raise unknown_slug(slug)
        if known is not None and known[0] is secret.value:
            return known[1]
        key = parse(slug, secret.value)
        self._parsed[slug] = (secret.value, key)
        while len(self._parsed) > _MOST:
            self._parsed.popitem(last=False)
        return key

    async def changed(self, slug: str) -> bool:
        """Read the secret anew: whether it is another one than was used."""
        before = self._parsed.get(slug)
        self._secrets.forget(secret_name(slug))
        try:
            after = await self.read(slug)
        except GatewayError:
            return False
        return before is None or before[1].digest != after.digest
