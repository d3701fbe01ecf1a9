"""Scalar reverse-mode automatic differentiation.

Does: record a computation on single numbers as a graph of :class:`Value`, and fill in the
derivative of one result with respect to every number that it was made from.
Does not: handle arrays, higher derivatives, or anything that torch does faster. It exists to be
read; stage 3 builds it step by step.

Source: the reverse accumulation mode surveyed by Baydin et al., "Automatic differentiation in
machine learning: a survey", JMLR 18 (2018). The idea of teaching it with one scalar class is
Karpathy's micrograd (2020); the code here stores local slopes instead of closures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["Value", "topological_order"]

Number = int | float


class Value:
    """One number of a computation.

    ``data`` is the number, ``grad`` the derivative of the result with respect to it (0.0 until
    :meth:`backward` ran), ``parents`` the pairs ``(input, local slope)`` it was computed from.
    """

    __slots__ = ("data", "grad", "parents")

    def __init__(self, data: Number, parents: Iterable[tuple[Value, float]] = ()) -> None:
        self.data = float(data)
        self.grad = 0.0
        self.parents: Sequence[tuple[Value, float]] = tuple(parents)

    def __repr__(self) -> str:
        return f"Value(data={self.data:.6g}, grad={self.grad:.6g})"

    # Each operation returns its result together with d(result)/d(input) for each input.

    def __add__(self, other: Value | Number) -> Value:
        other = _value(other)
        return Value(self.data + other.data, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other: Value | Number) -> Value:
        other = _value(other)
        return Value(self.data * other.data, [(self, other.data), (other, self.data)])

    def __pow__(self, exponent: Number) -> Value:
        """``self ** exponent`` for a constant exponent; ``TypeError`` for any other."""
        if not isinstance(exponent, int | float):
            raise TypeError(f"the exponent must be a plain number, not {exponent!r}")
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(self.data**exponent, [(self, slope)])

    def exp(self) -> Value:
        result = math.exp(self.data)
        return Value(result, [(self, result)])

    def log(self) -> Value:
        """Natural logarithm; ``ValueError`` unless ``data > 0``."""
        if self.data <= 0:
            raise ValueError(f"log needs a positive number, not {self.data}")
        return Value(math.log(self.data), [(self, 1.0 / self.data)])

    def sigmoid(self) -> Value:
        # Two branches, so that exp never overflows.
        if self.data >= 0:
            result = 1.0 / (1.0 + math.exp(-self.data))
        else:
            result = math.exp(self.data) / (1.0 + math.exp(self.data))
        return Value(result, [(self, result * (1.0 - result))])

    def tanh(self) -> Value:
        result = math.tanh(self.data)
        return Value(result, [(self, 1.0 - result * result)])

    def relu(self) -> Value:
        """``max(0, data)``; the slope at exactly 0 is taken as 0, as in torch."""
        return Value(max(0.0, self.data), [(self, float(self.data > 0))])

    # The rest is made of the above.

    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Value | Number) -> Value:
        return self + -_value(other)

    def __truediv__(self, other: Value | Number) -> Value:
        return self * _value(other) ** -1

    def __radd__(self, other: Number) -> Value:
        return self + other

    def __rmul__(self, other: Number) -> Value:
        return self * other

    def __rsub__(self, other: Number) -> Value:
        return -self + other

    def __rtruediv__(self, other: Number) -> Value:
        return _value(other) / self

    def backward(self) -> None:
        """Add d(self)/d(node) to ``grad`` of every node that self was computed from.

        Gradients accumulate over calls, as in torch; set ``grad = 0.0`` to start afresh.
        """
        order = topological_order(self)
        flow = {id(node): 0.0 for node in order}
        flow[id(self)] = 1.0
        for node in reversed(order):
            node.grad += flow[id(node)]
            for parent, slope in node.parents:
                flow[id(parent)] += slope * flow[id(node)]


def _value(number: Value | Number) -> Value:
    return number if isinstance(number, Value) else Value(number)


def topological_order(output: Value) -> list[Value]:
    """All nodes that ``output`` depends on, each after all of its parents; ``output`` is last.

    Uses an explicit stack: a graph may be deeper than Python's recursion limit.
    """
    order: list[Value] = []
    seen: set[int] = set()
    stack: list[tuple[Value, bool]] = [(output, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    return order
