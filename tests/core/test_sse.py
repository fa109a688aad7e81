from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sse import Splitter, data_of, fields, name_of

LINE_ENDS = [b"\n", b"\r\n", b"\r"]
pieces = st.sampled_from([*LINE_ENDS, b"data: ", b"event: x", b": ping", b"{}", b"a", b"\xc3\xa9", b"id:1"])
streams = st.lists(pieces, max_size=60).map(b"".join)


def split(chunks: list[bytes], limit: int = 1 << 20) -> tuple[list[bytes], bytes]:
    splitter = Splitter(limit)
    return [event for chunk in chunks for event in splitter.feed(chunk)], splitter.rest()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(streams, st.lists(st.integers(0, 1000), max_size=20))
def test_any_cut_gives_the_same_events_and_keeps_every_byte(stream: bytes, places: list[int]) -> None:
    events, rest = split(cut(stream, places))
    assert (events, rest) == split([stream])
    assert b"".join(events) + rest == stream


@given(streams)
def test_single_bytes_give_the_same_events(stream: bytes) -> None:
    assert split([stream[i : i + 1] for i in range(len(stream))]) == split([stream])


@given(st.lists(st.sampled_from([b"x", b"\n", b"\r\n", b"yy\n\n"]), max_size=40), st.integers(1, 8))
def test_oversized_events_keep_every_byte_and_memory_stays_bounded(chunks: list[bytes], limit: int) -> None:
    splitter = Splitter(limit)
    out = b""
    for chunk in chunks:
        out += b"".join(splitter.feed(chunk))
        assert len(splitter._buffer) <= limit
    assert out + splitter.rest() == b"".join(chunks)


def test_each_line_ending_ends_events() -> None:
    for end in LINE_ENDS:
        stream = b"data: 1" + end + end + b"data: 2" + end + end + b"x"
        events, rest = split([stream])
        assert [data_of(event) for event in events] == [b"1", b"2"], end
        assert rest == b"x"


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    assert split([b"data: 1\r\n\r", b"\ndata: 2\r\n\r\n"])[0] == [b"data: 1\r\n\r\n", b"data: 2\r\n\r\n"]


def test_fields_are_read_as_the_standard_says() -> None:
    event = b": comment\nevent: done\r\ndata: a\rdata:b\ndata\nid: 7\n\n"
    assert fields(event) == [
        (b"event", b"done"),
        (b"data", b"a"),
        (b"data", b"b"),
        (b"data", b""),
        (b"id", b"7"),
    ]
    assert data_of(event) == b"a\nb\n"
    assert name_of(event) == b"done"
    assert data_of(b": ping\n\n") == b""
    assert name_of(b"data: {}\n\n") == b""


@given(streams)
def test_the_quick_reading_of_data_agrees_with_the_plain_one(stream: bytes) -> None:
    for event in split([stream])[0]:
        plain = b"\n".join(value for name, value in fields(event) if name == b"data")
        assert data_of(event) == plain
