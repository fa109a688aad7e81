import pytest

from gateway.core.redaction import MASK, InvalidPattern, Redaction, headers, is_secret_header, mask_fields


@pytest.mark.parametrize(
    "name",
    ["authorization", "proxy-authorization", "api-key", "x-portkey-api-key", "x-portkey-azure-ad-token", "cookie",
     "set-cookie", "x-portkey-azure-entra-client-secret", "x-functions-key", "ocp-apim-subscription-key",
     "x-portkey-aws-secret-access-key", "x-my-password"],
)  # fmt: skip
def test_headers_with_credentials_are_secret(name: str) -> None:
    assert is_secret_header(name)


@pytest.mark.parametrize(
    "name",
    ["content-type", "x-portkey-virtual-key", "x-portkey-trace-id", "x-ratelimit-remaining-tokens", "x-request-id",
     "x-portkey-provider", "idempotency-key"],
)  # fmt: skip
def test_other_headers_are_shown(name: str) -> None:
    assert not is_secret_header(name)


def test_repeated_headers_are_joined_and_all_masked() -> None:
    pairs = [(b"Authorization", b"Bearer a"), (b"authorization", b"Bearer b"), (b"X-A", b"1"), (b"x-a", b"2")]
    assert headers(pairs) == {"authorization": f"{MASK}, {MASK}", "x-a": "1, 2"}


def test_fields_of_inline_configs_are_masked_at_every_depth() -> None:
    config = {
        "targets": [{"apiKey": "k", "api_key": "k", "virtual_key": "vk", "azure_entra_client_secret": "s"}]
    }
    assert mask_fields(config) == {
        "targets": [{"apiKey": MASK, "api_key": MASK, "virtual_key": "vk", "azure_entra_client_secret": MASK}]
    }
    broken = [(b"x-portkey-config", b'{"api_key":"k"')]
    assert headers(broken) == {"x-portkey-config": MASK}


def test_patterns_are_a_list_or_lines() -> None:
    for text in ['["a+", "[0-9]{3}"]', "a+\n[0-9]{3}\n"]:
        assert Redaction.parse(text).body(b"caat 123 12") == b"c***t *** 12"
    assert Redaction.parse("[0-9]+").body(b"x1") == b"x***"
    assert Redaction.parse("").body(b"x1") == b"x1"


@pytest.mark.parametrize("text", ["(", "[1]", '["("]', r"(?=x)"])
def test_a_bad_pattern_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(InvalidPattern):
        Redaction.parse(text)


def test_a_pattern_cannot_be_made_to_run_for_ever() -> None:
    assert Redaction.parse("(a+)+$").body(b"a" * 100_000 + b"b") == b"a" * 100_000 + b"b"


@pytest.mark.parametrize("length", [43, 64])
def test_gateway_keys_are_masked_to_their_end(length: int) -> None:
    assert Redaction().body(b'{"key":"gw-' + b"a" * length + b'"}') == b'{"key":"***"}'
