"""What clients' headers say, however they spell it; no bytes make the reading fail otherwise than a 400."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.headers import (
    RequestHeaders,
    forward_names,
    forwardable,
    looks_like_jwt,
    normal_name,
    parse_metadata,
    parse_traceparent,
    safe_text,
    split_list,
    strip_bearer,
    to_bool,
)


def headers(*pairs: tuple[str, str]) -> RequestHeaders:
    return RequestHeaders([(name.encode(), value.encode()) for name, value in pairs])


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc ", "abc"),
        ("abc", "abc"),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("", ""),
        ("Bearerabc", "Bearerabc"),
        ("Basic abc", "Basic abc"),
    ],
)
def test_strip_bearer(value, token):
    assert strip_bearer(value) == token


def test_all_authorizations_are_kept_in_order():
    found = headers(
        ("Authorization", "Bearer OPENAI_API_KEY"),
        ("authorization", "Bearer a, Bearer b"),
        ("AUTHORIZATION", "c"),
    )
    assert found.authorizations == ["OPENAI_API_KEY", "a", "b", "c"]


def test_names_are_one_in_any_spelling_and_empty_values_absent():
    found = headers(
        ("X_Portkey_Virtual_Key", " slug "), ("x-portkey-config", ""), ("x-portkey-config", "pc-1")
    )
    assert found.portkey("virtual-key") == "slug"
    assert found.portkey("config") == "pc-1"
    assert found.portkey("nothing") is None


def test_of_a_repeated_header_the_first_counts():
    assert headers(("x-portkey-provider", "a"), ("x-portkey-provider", "b")).portkey("provider") == "a"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("true", True),
        ("True", True),
        ("1", True),
        ("false", False),
        ("FALSE", False),
        ("0", False),
        ("no", None),
    ],
)
def test_to_bool(value, found):
    for default in (True, False):
        assert to_bool(value, default=default) is (default if found is None else found)
    assert to_bool(None, default=True) is True


@pytest.mark.parametrize(
    "value", ["X-A,other_name", '["X-A", "other_name"]', "['X-A', 'other_name']", " x-a , Other-Name ,"]
)
def test_a_list_is_read_in_every_form_that_sdks_send(value):
    assert forward_names(value) == {"x-a", "other-name"}


def test_a_list_keeps_its_order():
    assert split_list("['b', 'a']") == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("CustomHeader", "custom-header"),
        ("-custom-header", "custom-header"),
        ("custom_header", "custom-header"),
        ("xMyCustomHeader", "x-my-custom-header"),
        ("X-My-Header", "x-my-header"),
        ("authorization", "authorization"),
    ],
)
def test_normal_name(name, normal):
    assert normal_name(name) == normal


@pytest.mark.parametrize(
    "name", ["host", "connection", "x-portkey-api-key", "x-functions-key", "content-length", "te", "cookie"]
)
def test_what_is_never_forwarded(name):
    assert not forwardable(name)
    assert forwardable("x-custom")


METADATA = {
    '{"_user": "u", "n": 1, "yes": true, "none": null}': {"_user": "u", "n": "1", "yes": "true"},
    "{'_user': 'u'}": {"_user": "u"},
    '{"a": {"b": [1]}}': {"a": '{"b": [1]}'},
    "not json": {},
    "[1, 2]": {},
    "": {},
    '{"long": "' + "x" * 300 + '"}': {"long": "x" * 128},
    '{"caf\u00e9": "\u65e5\u672c"}': {"caf\u00e9": "\u65e5\u672c"},
    '{"a": "' + "x" * 20_000 + '"}': {},
}


@pytest.mark.parametrize(("text", "found"), METADATA.items(), ids=range(len(METADATA)))
def test_metadata(text, found):
    value = text.encode().decode("latin-1")  # as a server hands it on
    assert parse_metadata(value) == found


def test_baggage_is_percent_decoded():
    found = headers(("baggage", "city=S%C3%A3o%20Paulo,odd=%zz"))
    assert found.metadata == {"city": "São Paulo", "odd": "%zz"}


def test_baggage_is_metadata_and_the_header_wins():
    found = headers(("baggage", "team=a,user=b;prop=1,odd"), ("x-portkey-metadata", '{"user": "c"}'))
    assert found.metadata == {"team": "a", "user": "c"}


TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, SPAN)),
        (f"00-{TRACE.upper()}-{SPAN}-00", (TRACE, SPAN)),
        (f"01-{TRACE}-{SPAN}-01-later", (TRACE, SPAN)),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        ("00-short-01", None),
        ("", None),
        (None, None),
    ],
)
def test_traceparent(value, found):
    assert parse_traceparent(value) == found


@pytest.mark.parametrize(
    ("token", "is_one"),
    [
        ("eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln", True),
        ("eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ", False),
        ("azure-key-0123456789", False),
        ("a.b.c", False),
        ("eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln.more", False),
        ("", False),
    ],
)
def test_looks_like_jwt(token, is_one):
    assert looks_like_jwt(token) is is_one


@pytest.mark.parametrize(("value", "ms"), [("1", 1), ("3000", 3000), ("3600000", 3_600_000)])
def test_request_timeout(value, ms):
    assert headers(("x-portkey-request-timeout", value)).request_timeout_ms == ms


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "3600001", "9" * 40, "\u00b2"])
def test_a_request_timeout_that_is_none_is_a_400_that_names_the_header(value):
    with pytest.raises(GatewayError) as caught:
        _ = headers(("x-portkey-request-timeout", value)).request_timeout_ms
    assert caught.value.status == 400
    assert caught.value.param == "x-portkey-request-timeout"


names = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"authorization",
            b"api-key",
            b"traceparent",
            b"baggage",
            *(
                b"x-portkey-" + name
                for name in (
                    b"metadata",
                    b"trace-id",
                    b"config",
                    b"forward-headers",
                    b"sensitive-headers",
                    b"request-timeout",
                    b"debug",
                )
            ),
        ]
    ),
)


@given(st.lists(st.tuples(names, st.binary(max_size=60)), max_size=12))
def test_no_bytes_make_the_reading_fail_otherwise_than_by_a_clear_error(raw):
    read = RequestHeaders(raw)
    for attribute in (
        "trace_id",
        "debug",
        "strict",
        "request_timeout_ms",
        "metadata",
        "forwarded",
        "sensitive",
    ):
        try:
            value = getattr(read, attribute)
        except InvalidRequest:
            continue
        if attribute == "metadata":
            assert all(isinstance(key, str) and isinstance(item, str) for key, item in value.items())
    assert all("," not in token for token in read.authorizations)
    parse_traceparent(read.get("traceparent"))


@given(st.text(max_size=400))
def test_what_goes_back_in_a_header_is_plain_text(text):
    safe = safe_text(text)
    assert safe is None or (safe.isascii() and safe.isprintable() and len(safe) <= 256)
