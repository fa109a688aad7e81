"""A name that changes its address between two looks gains nothing."""

import httpx
import pytest

from gateway.adapters.upstream import GuardedResolver, UpstreamTransport

RESOURCE = "res.openai.azure.com"


class Names:
    """Answers each question with the next of `answers`, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_the_addresses_that_are_connected_to_are_those_that_were_checked():
    """The guard and the connection share one look: there is no second one to change."""
    names = Names(["127.0.0.1"], ["20.50.1.1"])
    way = UpstreamTransport(frozenset(), resolver=names)
    try:
        with pytest.raises(httpx.ConnectError, match="not allowed"):
            await way.handle_async_request(httpx.Request("GET", f"https://{RESOURCE}/"))
        assert names.asked == 1
    finally:
        await way.aclose()


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "168.63.129.16", "::1", "fe80::1%eth0"])
async def test_an_address_that_turns_bad_is_hidden_at_once(address):
    resolver = GuardedResolver(frozenset(), Names(["20.50.1.1"], ["20.50.1.2", address], [address]))
    assert await resolver(RESOURCE, 443) == ["20.50.1.1"]
    resolver.forget(RESOURCE, 443)
    assert await resolver(RESOURCE, 443) == ["20.50.1.2"]
    resolver.forget(RESOURCE, 443)
    with pytest.raises(OSError, match="not allowed"):
        await resolver(RESOURCE, 443)


async def test_trust_in_one_port_is_none_in_another():
    trusted = frozenset({"llm.internal:8443"})
    assert await GuardedResolver(trusted, Names(["127.0.0.1"]))("llm.internal", 8443) == ["127.0.0.1"]
    with pytest.raises(OSError, match="not allowed"):
        await GuardedResolver(trusted, Names(["127.0.0.1"]))("llm.internal", 80)
