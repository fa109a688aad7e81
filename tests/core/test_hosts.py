"""The guard against server-side request forgery: which hosts, and which addresses of them."""

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.hosts import Reach, check_host, may_connect

TRUSTED = frozenset({"llm.internal", "127.0.0.1:8080", "[::1]:9000", "gpu.lan:443"})

ALLOWED = {
    "https://res.openai.azure.com": ("https://res.openai.azure.com", Reach.AZURE, True),
    "https://res.openai.azure.com/openai/": ("https://res.openai.azure.com/openai", Reach.AZURE, True),
    "res.openai.azure.com": ("https://res.openai.azure.com", Reach.AZURE, True),
    "HTTPS://RES.OpenAI.Azure.com": ("https://res.openai.azure.com", Reach.AZURE, True),
    "https://res.openai.azure.com:443/openai": ("https://res.openai.azure.com:443/openai", Reach.AZURE, True),
    "https://res.openai.azure.us/openai": ("https://res.openai.azure.us/openai", Reach.AZURE, True),
    "https://res.openai.azure.cn": ("https://res.openai.azure.cn", Reach.AZURE, True),
    "https://r.services.ai.azure.com/models": ("https://r.services.ai.azure.com/models", Reach.AZURE, True),
    "https://team.azure-api.net/llm": ("https://team.azure-api.net/llm", Reach.AZURE, False),
    "https://api.openai.com/v1": ("https://api.openai.com/v1", Reach.PUBLIC, True),
    "http://llm.internal:1234/v1": ("http://llm.internal:1234/v1", Reach.ANY, True),
    "http://127.0.0.1:8080": ("http://127.0.0.1:8080", Reach.ANY, True),
    "http://[::1]:9000/x": ("http://[::1]:9000/x", Reach.ANY, True),
}


@pytest.mark.parametrize(("text", "wanted"), ALLOWED.items(), ids=ALLOWED)
def test_allowed(text, wanted):
    host = check_host(text, TRUSTED)
    assert (host.base, host.reach, host.own_identity) == wanted


REFUSED = [
    "http://res.openai.azure.com",  # a key in the clear
    "https://res.openai.azure.com:8443",
    "https://evil.example",
    "https://res.openai.azure.com.evil.example",
    "https://evilopenai.azure.com",
    "https://openai.azure.com",
    "https://res.openai.azure.com.",
    "https://res.openai.azure.com@evil.example",
    "https://user:pass@res.openai.azure.com",
    "https://evil.example#.openai.azure.com",
    "https://evil.example?.openai.azure.com",
    "https://evil.example/.openai.azure.com",
    "https://evil.example\\.openai.azure.com",
    "https://a%2eopenai.azure.com",
    "https://\u0440es.openai.azure.com",
    "https://-res.openai.azure.com",
    "https://.openai.azure.com",
    "https://a..openai.azure.com",
    "https://" + "a." * 12 + "openai.azure.com",
    "https://" + "a" * 64 + ".openai.azure.com",
    "https://res.openai.azure.com/../x",
    "https://127.0.0.1",
    "https://127.1",
    "https://2130706433",
    "https://0x7f000001",
    "https://0x7f.0.0.1",
    "https://0177.0.0.1",
    "https://169.254.169.254/metadata",
    "https://168.63.129.16",
    "https://[::1]",
    "https://[::ffff:127.0.0.1]",
    "https://[fe80::1%25eth0]",
    "https://localhost",
    "https://metadata.google.internal",
    "https://kubernetes.default.svc",
    "http://127.0.0.1:8081",  # only 8080 is trusted
    "http://gpu.lan:80",
    "file:///etc/passwd",
    "gopher://res.openai.azure.com",
    "javascript:alert(1)",
    "//res.openai.azure.com",
    "https://",
    "",
    " https://res.openai.azure.com",
    "https://res.openai.azure.com\r\nx: 1",
    "https://res.openai.azure.com:99999",
    "https://res.openai.azure.com/" + "a" * 3000,
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:50])
def test_refused(text):
    with pytest.raises(InvalidRequest) as caught:
        check_host(text, TRUSTED)
    assert caught.value.code == "invalid_custom_host"
    assert "GATEWAY_TRUSTED_HOSTS" in caught.value.message
    assert "pass" not in caught.value.message


PUBLIC = ["20.50.1.1", "8.8.8.8", "2603:1030::1"]
PRIVATE = ["10.0.0.4", "172.16.3.4", "192.168.1.1", "100.64.0.1", "fd00::1"]
NEVER = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "169.254.169.254",
    "169.254.0.1",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "64:ff9b::a9fe:a9fe",  # NAT64 of 169.254.169.254
    "64:ff9b::7f00:1",
]


@pytest.mark.parametrize("address", PUBLIC + PRIVATE + NEVER)
def test_addresses(address):
    assert may_connect(address, Reach.ANY)
    assert may_connect(address, Reach.AZURE) == (address in PUBLIC + PRIVATE)
    assert may_connect(address, Reach.PUBLIC) == (address in PUBLIC)
