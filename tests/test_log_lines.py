"""What a handler that knows nothing of fields shows."""

import io
import logging
from collections.abc import Iterator

import pytest

from gateway.log_lines import hide_fields, show_fields


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a plain handler of the root logger writes, as the Functions worker's."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    show_fields()
    show_fields()  # both front doors may
    yield written
    hide_fields()
    logging.getLogger().removeHandler(handler)


def test_fields_stand_in_the_line_once(lines):
    logging.getLogger("gateway.records").warning(
        "records.failed", extra={"waiting": 3, "error": 'a "b" 100%'}
    )
    assert lines.getvalue() == 'records.failed {"waiting":"3","error":"a \\"b\\" 100%"}\n'


def test_a_line_without_fields_and_lines_of_others_stay_as_they_are(lines):
    logging.getLogger("gateway").warning("%s of %d", "one", 2)
    logging.getLogger("another").warning("event", extra={"id": "1"})
    assert lines.getvalue() == "one of 2\nevent\n"


def test_a_field_cannot_forge_a_line(lines):
    logging.getLogger("gateway").warning("event", extra={"error": "a\nERROR forged"})
    assert lines.getvalue().count("\n") == 1


def test_the_cause_follows_its_fields(lines):
    try:
        raise ValueError("the cause")
    except ValueError:
        logging.getLogger("gateway").exception("request.failed", extra={"request_id": "r-1"})
    assert lines.getvalue().startswith('request.failed {"request_id":"r-1"}\nTraceback')
    assert "ValueError: the cause" in lines.getvalue()
