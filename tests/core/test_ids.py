import os
import uuid

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import record_id, time_of


@given(st.floats(0, 2**47 / 1000), st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7_that_tells_its_time(created_at: float, random: bytes) -> None:
    id = record_id(created_at, random)
    parsed = uuid.UUID(id)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert time_of(id) == int(created_at * 1000) / 1000


def test_ids_of_one_millisecond_differ() -> None:
    assert len({record_id(1.0, os.urandom(10)) for _ in range(1000)}) == 1000


def test_other_ids_tell_no_time() -> None:
    assert time_of(str(uuid.uuid4())) is None
    assert time_of("nonsense") is None
