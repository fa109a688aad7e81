import pytest

from gateway.core.custom_log import records_of
from gateway.core.errors import InvalidRequest


def test_credentials_in_a_url_are_masked() -> None:
    url = "https://f.example/api?code=abc123&x=1&api-key=k&SIG=s%20#top"
    (record,) = records_of({"request": {"url": url}}, 0.0, lambda at: "id")
    assert record.path == "https://f.example/api?code=***&x=1&api-key=***&SIG=***#top"


def test_a_log_begins_before_its_response_time() -> None:
    (record,) = records_of({"response": {"response_time": 1500}}, 1_700_000_000.0, lambda at: "id")
    assert (record.created_at, record.duration_ms) == (1_699_999_998.5, 1500.0)


def test_a_log_that_names_no_trace_is_its_own() -> None:
    (record,) = records_of({"metadata": {}}, 5.0, lambda at: f"id-{at}")
    assert (record.trace_id, record.status, record.method) == ("id-5.0", 200, "POST")


@pytest.mark.parametrize("body", [{}, [{}], {"url": "https://tool.example"}, {"0": {"request": {}}, "1": {}}])
def test_a_log_of_nothing_is_refused(body: object) -> None:
    with pytest.raises(InvalidRequest, match="it has none of them"):
        records_of(body, 5.0, lambda at: "id")
