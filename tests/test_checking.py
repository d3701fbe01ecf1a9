"""The helpers that checks look at answers with: right on odd values, never raising on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xor2gpt import checking

ODD = [
    None,
    "1.0",
    b"1",
    {"a": 1.0},
    {1.0},
    [[1.0], [1.0, 2.0]],
    object(),
    [object()],
    lambda x: x,
    np.array(["a"]),
    [None],
]


@pytest.mark.parametrize("value", ODD, ids=[str(n) for n in range(len(ODD))])
def test_odd_values_are_never_close_and_never_raise(value) -> None:
    assert checking.close(value, 1.0, atol=1e9) is False
    assert checking.close(value, [1.0], atol=1e9) is False
    assert checking.same_shape(value, ()) is False
    assert isinstance(checking.describe(value), str)


@pytest.mark.parametrize(
    "value",
    [
        [[1.0, 2.0]],
        ((1, 2),),
        np.array([[1, 2]]),
        np.float32([[1, 2]]),
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[1.0, 2.0]], requires_grad=True),
    ],
    ids=lambda v: type(v).__name__,
)
def test_lists_arrays_and_tensors_count_as_data(value) -> None:
    assert checking.close(value, [[1.0, 2.0]], atol=0.0)
    assert checking.same_shape(value, (1, 2))
    assert not checking.same_shape(value, (2, 1))
    assert not checking.close(value, [1.0, 2.0], atol=1.0)  # another shape is another answer


def test_tolerances_are_those_that_are_asked_for() -> None:
    assert checking.close(1.001, 1.0, atol=0.0011)
    assert not checking.close(1.001, 1.0, atol=0.0009)
    assert checking.close(1010.0, 1000.0, atol=0.0, rtol=0.011)
    assert not checking.close(1010.0, 1000.0, atol=0.0, rtol=0.009)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_close_to_themselves_only(value: float) -> None:
    assert checking.close(value, value, atol=0.0)
    assert not checking.close(value, 1.0, atol=1e300)
    assert not checking.close(1.0, value, atol=1e300)


def test_a_check_with_a_broken_expectation_is_told() -> None:
    with pytest.raises(TypeError, match="must be numeric, not str"):
        checking.close(1.0, "1.0", atol=0.1)


finite = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
    elements=st.floats(-1e6, 1e6),
)


@given(finite)
def test_every_array_is_close_to_itself_in_any_form(array: np.ndarray) -> None:
    for form in (array, array.tolist(), torch.tensor(array)):
        assert checking.close(form, array, atol=0.0)
        assert checking.same_shape(form, array.shape)


@given(finite, st.floats(1e-3, 1e3))
def test_one_element_too_far_is_enough(array: np.ndarray, distance: float) -> None:
    if array.size:
        other = array.copy()
        other[(0,) * array.ndim] += distance * 1.01 + 1e-9
        assert not checking.close(other, array, atol=distance)


@pytest.mark.parametrize(
    "value, words",
    [
        (None, "None (is a return missing?)"),
        (np.zeros((4, 1)), "a float64 array of shape (4, 1)"),
        (torch.zeros(2, dtype=torch.int64), "a int64 Tensor of shape (2,)"),
        ([1, 2, 3], "a int64 list of shape (3,)"),
        (1.5, "a single number (float)"),
        ("text", "a str"),
        ([[1], [1, 2]], "a list"),
    ],
)
def test_describe_says_the_kind_and_no_value(value, words: str) -> None:
    assert checking.describe(value) == words
