import pytest

from gateway.core.signals import NOTHING, Signal, parse_duration, read_signal

NOW = 1000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400.0),
        (" 2s ", 2.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("1s later", None),
        ("-1", None),
        ("nan", None),
        ("1" * 50, None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("status", "headers", "until"),
    [
        (429, {"retry-after": "5"}, 1005.0),
        (429, {"retry-after-ms": "500"}, 1000.5),
        (429, {"retry-after": "999999999"}, 1000.0 + 86_400),
        (429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12ms"}, 1000.012),
        (200, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 1360.0),
        (200, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1"}, 1001.0),
        (200, {"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "1s"}, 1001.0),
    ],
)
def test_throttled_until(status: int, headers: dict[str, str], until: float) -> None:
    signal = read_signal(status, headers, b"", NOW)
    assert signal.state == "throttled"
    assert signal.until == pytest.approx(until)


@pytest.mark.parametrize(
    ("status", "headers", "head"),
    [
        (200, {}, b""),
        (200, {"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": "1s"}, b""),
        (200, {"x-ratelimit-remaining-tokens": "0"}, b""),
        (200, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "0s"}, b""),
        (429, {}, b""),
        (429, {"retry-after": "0"}, b""),
        (404, {}, b'{"error":{"message":"No such File object"}}'),
        (500, {}, b"DeploymentNotFound"),
        (400, {}, b'{"error":{"code":"invalid_prompt"}}'),
    ],
)
def test_nothing_to_tell(status: int, headers: dict[str, str], head: bytes) -> None:
    assert read_signal(status, headers, head, NOW) is NOTHING


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (410, b""),
        (404, b'{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}}'),
        (404, b'{"error":{"code":"404","message":"Resource not found"}}'),
    ],
)
def test_a_deployment_that_is_gone_is_dead_for_five_minutes(status: int, head: bytes) -> None:
    signal = read_signal(status, {}, head, NOW)
    assert (signal.state, signal.until) == ("dead", NOW + 300)


def test_a_missing_resource_is_told_of_its_operation_alone() -> None:
    assert read_signal(404, {}, b"Resource not found", NOW).narrow
    assert not read_signal(404, {}, b"DeploymentNotFound", NOW).narrow


@pytest.mark.parametrize(
    "head",
    [
        b'{"error":{"code":"content_filter","status":400}}',
        b'{"error":{"innererror":{"code":"ResponsibleAIPolicyViolation"}}}',
    ],
)
def test_a_content_filter_is_told_from_other_400s(head: bytes) -> None:
    assert read_signal(400, {}, head, NOW) == Signal(content_filter=True)
