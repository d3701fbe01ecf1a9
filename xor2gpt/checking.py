"""Small helpers that checks use to look at a student's answer.

Does: say whether a returned value is the expected plain data, and describe it in words.
Does not: raise on odd values (``None``, strings, ragged lists): an odd value is just not close.

A check imports this module in its prelude and keeps the ``assert`` and the message to itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["close", "describe", "same_shape"]


def _as_array(value: Any) -> np.ndarray | None:
    """``value`` as a numeric array, or ``None`` where it is not one."""
    if value is None or isinstance(value, str | bytes | dict | set):
        return None
    if hasattr(value, "detach"):  # a torch tensor, whether or not it requires a gradient
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biufc" else None


def same_shape(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether ``value`` is a numeric array (or tensor, list, number) of exactly ``shape``."""
    array = _as_array(value)
    return array is not None and array.shape == tuple(shape)


def close(value: Any, expected: Any, *, atol: float, rtol: float = 0.0) -> bool:
    """Whether ``value`` has ``expected``'s shape, each element within ``atol + rtol * |expected|``.

    A NaN or an infinity is close only to the same NaN or infinity. What is not numeric is never
    close. Raises ``TypeError`` if ``expected`` itself is not numeric.
    """
    got, want = _as_array(value), _as_array(expected)
    if want is None:
        raise TypeError(f"the expected value must be numeric, not {type(expected).__name__}")
    if got is None or got.shape != want.shape:
        return False
    return bool(np.allclose(got, want, atol=atol, rtol=rtol, equal_nan=True))


def describe(value: Any) -> str:
    """``value``'s kind in words, for a message: ``a float64 array of shape (4, 1)``, ``a str``."""
    if value is None:
        return "None (is a return missing?)"
    array = _as_array(value)
    if array is None:
        return f"a {type(value).__name__}"
    if array.ndim == 0:
        return f"a single number ({type(value).__name__})"
    kind = type(value).__name__ if not isinstance(value, np.ndarray) else "array"
    return f"a {array.dtype} {kind} of shape {array.shape}"
