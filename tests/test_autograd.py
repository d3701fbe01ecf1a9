"""xor2gpt.autograd against torch, on hand-made and on random expressions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xor2gpt.autograd import Value, topological_order

NUMBERS = st.floats(-3, 3).filter(lambda x: abs(x) > 0.05)
UNARY = ["sigmoid", "tanh", "relu", "exp", "neg", "square", "recip_of_square_plus_1", "log_of_exp"]
BINARY = ["add", "sub", "mul", "div"]


def combine(name, a, b):
    return {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: a * b,
        "div": lambda: a / (b * b + 1.0),
    }[name]()


def squash(name, a):
    return {
        "sigmoid": lambda: a.sigmoid(),
        "tanh": lambda: a.tanh(),
        "relu": lambda: a.relu(),
        "exp": lambda: (0.1 * a).tanh().exp(),
        "neg": lambda: -a,
        "square": lambda: a.tanh() ** 2,
        "recip_of_square_plus_1": lambda: 1.0 / (a * a + 1.0),
        "log_of_exp": lambda: (a * a + 1.0).log(),
    }[name]()


@given(
    inputs=st.lists(NUMBERS, min_size=2, max_size=4),
    program=st.lists(
        st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 30), st.integers(0, 30)),
        min_size=1,
        max_size=15,
    ),
)
def test_random_expressions_agree_with_torch(inputs, program):
    ours = [Value(x) for x in inputs]
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
    mine, torchs = list(ours), list(theirs)
    for name, i, j in program:
        for nodes in (mine, torchs):
            a, b = nodes[i % len(nodes)], nodes[j % len(nodes)]
            nodes.append(squash(name, a) if name in UNARY else combine(name, a, b))
    if abs(mine[-1].data) > 1e6:
        return  # squares of squares: nothing to compare in float64
    mine[-1].backward()
    torchs[-1].backward()
    assert mine[-1].data == pytest.approx(torchs[-1].item(), rel=1e-9, abs=1e-9)
    for node, tensor in zip(ours, theirs, strict=True):
        expected = 0.0 if tensor.grad is None else tensor.grad.item()
        assert node.grad == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_node_used_twice_gets_both_contributions():
    a, b = Value(2.0), Value(3.0)
    (a * b + a).backward()
    assert (a.grad, b.grad) == (4.0, 2.0)


def test_backward_accumulates_like_torch():
    a = Value(2.0)
    y = a * a
    y.backward()
    y.backward()
    assert a.grad == 8.0


def test_a_graph_deeper_than_the_recursion_limit():
    x = Value(1.0)
    y = x
    for _ in range(5000):
        y = y + 0.0
    y.backward()
    assert x.grad == 1.0


def test_topological_order_puts_parents_first():
    a = Value(1.0)
    b = a + 1.0
    c = b * a
    place = {id(node): i for i, node in enumerate(topological_order(c))}
    assert place[id(a)] < place[id(b)] < place[id(c)] == len(place) - 1


@pytest.mark.parametrize("z", [-1000.0, -1.0, 0.0, 1.0, 1000.0])
def test_sigmoid_never_overflows(z):
    got = Value(z).sigmoid().data
    assert got == pytest.approx(torch.sigmoid(torch.tensor(z, dtype=torch.float64)).item())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="-1"):
        Value(-1.0).log()
    with pytest.raises(TypeError, match="exponent"):
        Value(2.0) ** Value(2.0)
    assert math.isclose((2.0 - Value(1.0)).data, 1.0)
