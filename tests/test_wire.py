"""The data-only protocol: round trips of plain data, and refusal of everything else."""

import contextlib
import io
import math
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder import wire

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.frozensets(HASHABLE, max_size=4)
    ),
    max_leaves=20,
)
ARRAYS = hnp.arrays(
    dtype=hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.complex_number_dtypes(sizes=(64, 128)),
    shape=hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)


def through(value, other=None, special=None):
    """``value`` after a trip over the wire."""
    stream = io.BytesIO()
    wire.write_frame(stream, wire.encode(value, other))
    stream.seek(0)
    return wire.decode(wire.read_frame(stream), special)


@given(PLAIN)
def test_plain_data_comes_back_with_its_exact_types(value):
    got = through(value)
    assert repr(got) == repr(value) or got == value
    assert type(got) is type(value)


@given(ARRAYS)
def test_arrays_come_back_with_type_shape_and_bytes(array):
    got = through(array)
    assert got.shape == array.shape
    assert got.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got, array)
    assert got.flags.writeable


@pytest.mark.parametrize("dtype", sorted(wire.TORCH_DTYPES))
def test_tensors_come_back(dtype):
    tensor = torch.arange(6).reshape(2, 3).t().to(getattr(torch, dtype))
    got = through(tensor)
    assert got.dtype == tensor.dtype and torch.equal(got, tensor)


def test_a_tensor_that_requires_a_gradient_comes_back_as_a_leaf():
    x = torch.ones(2, requires_grad=True)
    got = through(x * 2)
    assert got.requires_grad and got.is_leaf and got.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "value", [np.float32(1.5), np.int64(-3), np.bool_(True), range(3, 9, 2), slice(None, 4), ...]
)
def test_odds_and_ends(value):
    got = through(value)
    assert type(got) is type(value) and got == value


def test_an_ordered_dict_arrives_as_a_dict_in_its_order():
    got = through(OrderedDict([("b", 1), ("a", 2)]))
    assert type(got) is dict and list(got.items()) == [("b", 1), ("a", 2)]


def test_nan_and_infinities_survive():
    got = through([math.nan, math.inf, -math.inf])
    assert math.isnan(got[0]) and got[1:] == [math.inf, -math.inf]


class Sneaky(np.ndarray):
    """An array that would answer every comparison with yes."""

    def __eq__(self, other):
        return True


@pytest.mark.parametrize(
    "value",
    [
        object(),
        type("Odd", (OrderedDict,), {})(a=1),
        np.zeros(3).view(Sneaky),
        np.array([object()]),
        np.array(["text"]),
        np.zeros(2, dtype=[("a", "i4")]),
        torch.zeros(2).to_sparse(),
        lambda: 1,
        type("Text", (str,), {})("x"),
        type("Number", (float,), {})(1.0),
        2 ** (2**13),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_data_is_refused(value):
    with pytest.raises(wire.WireError):
        through([value])


def test_other_objects_travel_as_handles():
    class Thing:
        pass

    seen = []
    got = through([Thing()], lambda item: wire.Handle(7, type(item).__name__), seen.append)
    assert seen == [wire.Handle(7, "Thing")] and got == [None]


def test_depth_is_capped_on_both_sides():
    value, document = [], ["l", []]
    for _ in range(wire.MAX_DEPTH + 2):
        value, document = [value], ["l", [document]]
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.encode(value)
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.decode(document)


def test_a_list_that_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.encode(value)


def test_the_number_of_values_is_capped():
    with pytest.raises(wire.WireError, match="more than 10"):
        wire.encode(list(range(20)), limits=wire.Limits(items=10))
    with pytest.raises(wire.WireError, match="more than 10"):
        wire.decode(["l", list(range(20))], limits=wire.Limits(items=10))


def test_a_frame_that_announces_too_much_is_refused_before_it_is_read():
    stream = io.BytesIO(struct.pack(">I", 2**31) + b"x")
    with pytest.raises(wire.WireError, match="at most"):
        wire.read_frame(stream)


@pytest.mark.parametrize("data", [b"\x00\x00", struct.pack(">I", 10) + b"short"])
def test_a_stream_that_ends_inside_a_frame(data):
    with pytest.raises(wire.WireError, match="ended inside"):
        wire.read_frame(io.BytesIO(data))


def test_the_end_of_a_stream_is_none():
    assert wire.read_frame(io.BytesIO()) is None


@pytest.mark.parametrize(
    "document",
    [
        {"a": 1},
        [],
        [1],
        ["q"],
        ["a", "<f8", [2], b"too short"],
        ["a", "<f8", [-1], b""],
        ["a", "|O", [1], b"12345678"],
        ["a", "|b1", [1], b"\x02"],
        ["a", "<f8", [2**40, 2**40], b""],
        ["n", "<f8", b""],
        ["T", "object", [1], b"", False],
        ["T", "int64", [1], b"12345678", True],
        ["T", "float32", [1], b"1234", "yes"],
        ["d", [[["l", []], 1]]],
        ["d", [[1]]],
        ["s", [["l", []]]],
        ["l"],
        ["l", "abc"],
        ["R", 1, 2, 0],
        ["R", 1.5, 2, 1],
        ["h", -1, "x"],
        ["h", 1, 2],
        ["r", "os.system('x')"],
        ["i", b"x" * 1000],
        ["z", "a", "b"],
    ],
    ids=str,
)
def test_malformed_documents_are_refused(document):
    with pytest.raises(wire.WireError):
        wire.decode(document, special=lambda made: made)


@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_raise(data):
    stream = io.BytesIO(struct.pack(">I", len(data)) + data)
    with contextlib.suppress(wire.WireError):
        wire.decode(wire.read_frame(stream), special=lambda made: made)


@given(
    st.recursive(
        SCALARS.filter(lambda x: type(x) is not complex and (type(x) is not int or abs(x) < 2**60)),
        lambda inner: st.lists(st.sampled_from(sorted(wire._TAGS)) | inner, max_size=5),
        max_leaves=15,
    )
)
def test_random_documents_never_do_more_than_raise(document):
    with contextlib.suppress(wire.WireError):
        wire.decode(wire.unpack(wire.pack(document)[4:]), special=lambda made: made)
