"""The one field of a form that is read and rewritten; all else keeps its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.form_field import boundary_of, read_field, with_field

TYPE = "multipart/form-data; boundary=B"


def form(*parts: tuple[str, bytes], boundary: str = "B") -> bytes:
    edge = b"--" + boundary.encode()
    pieces = [
        edge + b"\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data
        for head, data in parts
    ]
    return b"\r\n".join(pieces) + b"\r\n" + edge + b"--\r\n"


FILE = ('name="file"; filename="a.png"\r\nContent-Type: image/png', b"\x89PNG\r\n\r\n--B-not-quite\r\n")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b:c"', b"a b:c"),
        ("multipart/form-data; charset=utf-8; Boundary=abc; x=y", b"abc"),
        ("multipart/form-data;boundary=----WebKitFormBoundaryX", b"----WebKitFormBoundaryX"),
    ],
)
def test_boundary(content_type, boundary):
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "x; boundary=" + "a" * 71,
    ],
)
def test_a_form_without_a_boundary_is_a_400_with_the_fix(content_type):
    with pytest.raises(InvalidRequest, match="boundary"):
        boundary_of(content_type)


def test_a_field_is_read_wherever_it_stands():
    assert read_field(form(FILE, ('name="model"', b"gpt")), TYPE, "model") == "gpt"
    assert read_field(form(('name="model"', b"gpt"), FILE), TYPE, "model") == "gpt"
    assert read_field(form(("name=model", b"gpt")), TYPE, "model") == "gpt"
    assert read_field(form(('name="model"', b"")), TYPE, "model") == ""
    assert read_field(form(FILE), TYPE, "model") is None
    assert read_field(form(('name="x"; filename="name=model"', b"no")), TYPE, "model") is None


def test_a_field_is_replaced_and_the_rest_keeps_its_bytes():
    before = form(FILE, ('name="model"', b"gpt"), ('name="n"', b"1"))
    assert with_field(before, TYPE, "model", "dep") == form(
        FILE, ('name="model"', b"dep"), ('name="n"', b"1")
    )


def test_a_missing_field_comes_first():
    assert with_field(form(FILE), TYPE, "model", "dep") == form(('name="model"', b"dep"), FILE)


def test_a_field_that_is_right_leaves_the_very_object():
    before = form(('name="model"', b"dep"))
    assert with_field(before, TYPE, "model", "dep") is before


@pytest.mark.parametrize(
    "body",
    [
        b"--B\r\nContent-Disposition: form-data",
        b"--B\r\n" + b"x" * 9000 + b"\r\n\r\n",
        b"--B\r\n\r\n\r\n" * 2000,
    ],
)
def test_a_form_that_is_none_is_a_400(body):
    with pytest.raises(InvalidRequest):
        read_field(body, TYPE, "model")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body):
    try:
        read_field(b"--B" + body, TYPE, "model")
    except InvalidRequest:
        return


contents = st.binary(max_size=60).filter(lambda data: b"--B" not in data)


@given(st.lists(contents, max_size=4), st.integers(0, 4))
def test_files_survive_any_rewriting(files, place):
    parts = [('name="image[]"; filename="x"', data) for data in files]
    parts.insert(min(place, len(parts)), ('name="model"', b"gpt"))
    changed = with_field(form(*parts), TYPE, "model", "other")
    parts = [(head, b"other" if head == 'name="model"' else data) for head, data in parts]
    assert changed == form(*parts)
