"""The data-only protocol between the referee and a student process.

Does: turn plain data (numbers, text, containers, NumPy arrays, torch tensors) into bytes and back,
by exact type; cut bytes into length-prefixed frames; refuse what is too large, too deep or odd.
Does not: execute anything while reading. There is no pickle, no class name is looked up, no
constructor of student code runs. An object that is not plain data travels as a *handle*: a number
that means something only to the side that owns the object.

Format: a frame is a 4-byte big-endian length and a msgpack document. In the document ``None``,
booleans, 64-bit integers, floats, strings and bytes stand for themselves; everything else is a
list that starts with a one-letter tag (see ``_TAGS``).
"""

from __future__ import annotations

import math
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import msgpack
import numpy as np

__all__ = [
    "MAX_DEPTH",
    "MAX_FRAME",
    "Callback",
    "Handle",
    "Limits",
    "Reference",
    "WireError",
    "decode",
    "encode",
    "pack",
    "read_frame",
    "unpack",
    "write_frame",
]

MAX_FRAME = 256 * 2**20  # bytes of one frame
MAX_DEPTH = 64  # containers inside containers
MAX_ITEMS = 5_000_000  # values in one frame
MAX_BIG = 10_000  # integers beyond 64 bits in one frame: chosen well, their hashes are all equal
NUMPY_KINDS = "biufc"  # no objects, no structures, no strings
TORCH_DTYPES = {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16"}
TORCH_DTYPES |= {"float32", "float64", "complex64", "complex128"}


class WireError(ValueError):
    """A value cannot travel, or a frame is malformed; the message says what and where."""


@dataclass(frozen=True)
class Handle:
    """An object that stays on the student's side."""

    number: int
    type_name: str = "object"


@dataclass(frozen=True)
class Callback:
    """A function that stays on the referee's side."""

    number: int


@dataclass(frozen=True)
class Reference:
    """A name of the prelude, which both sides hold."""

    name: str


@dataclass(frozen=True)
class Limits:
    """What one frame may hold."""

    frame: int = MAX_FRAME
    depth: int = MAX_DEPTH
    items: int = MAX_ITEMS


_TAGS = {
    "l": "list",
    "t": "tuple",
    "d": "dict",
    "s": "set",
    "f": "frozenset",
    "i": "integer beyond 64 bits",
    "z": "complex",
    "a": "NumPy array",
    "n": "NumPy scalar",
    "T": "torch tensor",
    "R": "range",
    "S": "slice",
    "E": "Ellipsis",
    "h": "handle",
    "c": "callback",
    "r": "reference to a prelude name",
}


class _Counter:
    """Counts values on one walk and stops at the caps."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.items, self.big = limits, 0, 0

    def step_big(self) -> None:
        self.big += 1
        if self.big > MAX_BIG:
            raise WireError(f"more than {MAX_BIG} integers beyond 64 bits")

    def step_range(self, found: range) -> range:
        """A range travels as three numbers; whoever turns it into an array needs its length."""
        if found and (found[-1] - found[0]) // found.step >= self.limits.items:
            raise WireError(f"a range of more than {self.limits.items} values")
        return found

    def step(self, depth: int) -> None:
        self.items += 1
        if depth > self.limits.depth:
            raise WireError(f"nested deeper than {self.limits.depth} containers")
        if self.items > self.limits.items:
            raise WireError(f"more than {self.limits.items} values")


def _torch() -> Any:
    """torch if somebody imported it already; encoding never imports it."""
    return sys.modules.get("torch")


def encode(
    value: Any, other: Callable[[Any], Any] | None = None, limits: Limits | None = None
) -> Any:
    """``value`` as a msgpack document.

    ``other`` is asked for objects that are not plain data and returns a :class:`Handle`,
    :class:`Callback` or :class:`Reference`; without it, or when it returns ``None``, such an
    object raises :class:`WireError`. Types are compared exactly: a subclass of ``list`` or
    ``ndarray`` is not plain data.
    """
    counter = _Counter(limits or Limits())
    torch = _torch()

    def walk(item: Any, depth: int) -> Any:
        counter.step(depth)
        kind = type(item)
        if item is None or kind is bool or kind is float or kind is str or kind is bytes:
            return item
        if kind is int:
            if -(2**63) <= item < 2**63:
                return item
            counter.step_big()
            if item.bit_length() > 4096:
                raise WireError("an integer of more than 4096 bits")
            return ["i", item.to_bytes((item.bit_length() + 8) // 8, "big", signed=True)]
        if kind is list or kind is tuple:
            return ["l" if kind is list else "t", [walk(x, depth + 1) for x in item]]
        if kind is dict or kind is OrderedDict:  # a state_dict; it arrives as a dict
            return ["d", [[walk(k, depth + 1), walk(v, depth + 1)] for k, v in item.items()]]
        if kind is set or kind is frozenset:
            return ["s" if kind is set else "f", [walk(x, depth + 1) for x in item]]
        if kind is complex:
            return ["z", item.real, item.imag]
        if kind is np.ndarray and item.dtype.kind in NUMPY_KINDS and item.dtype.itemsize <= 16:
            return ["a", item.dtype.newbyteorder("<").str, list(item.shape), _array_bytes(item)]
        if (
            isinstance(item, np.generic)
            and kind.__module__ == "numpy"
            and (item.dtype.kind in NUMPY_KINDS and item.dtype.itemsize <= 16)
        ):
            return ["n", item.dtype.newbyteorder("<").str, _array_bytes(np.asarray(item))]
        if torch is not None and (kind is torch.Tensor or kind is torch.nn.Parameter):
            return _encode_tensor(item, torch)
        if kind is range:
            counter.step_range(item)
            return ["R", *(walk(x, depth + 1) for x in (item.start, item.stop, item.step))]
        if kind is slice:
            return ["S", *(walk(x, depth + 1) for x in (item.start, item.stop, item.step))]
        if item is Ellipsis:
            return ["E"]
        if kind is not Handle and kind is not Callback and kind is not Reference:
            replaced = other(item) if other else None
            if type(replaced) not in (Handle, Callback, Reference):
                raise WireError(f"an object of type {kind.__name__!r} is not plain data")
            item, kind = replaced, type(replaced)
        if kind is Handle:
            return ["h", item.number, item.type_name[:100]]
        return ["c", item.number] if kind is Callback else ["r", item.name]

    return walk(value, 0)


def _array_bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _encode_tensor(tensor: Any, torch: Any) -> list:
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in TORCH_DTYPES or tensor.layout != torch.strided:
        raise WireError(f"a tensor of dtype {name} and layout {tensor.layout} cannot travel")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if name == "bfloat16":
        plain = plain.view(torch.int16)
    array = plain.numpy()
    return ["T", name, list(tensor.shape), _array_bytes(array), bool(tensor.requires_grad)]


def decode(
    document: Any, special: Callable[[Any], Any] | None = None, limits: Limits | None = None
) -> Any:
    """The value of a msgpack document made by :func:`encode`.

    ``special`` turns a :class:`Handle`, :class:`Callback` or :class:`Reference` into whatever
    stands for it on this side; without it these three are refused. Raises :class:`WireError`
    for anything that :func:`encode` could not have written.
    """
    counter = _Counter(limits or Limits())

    def fail(tag: object) -> WireError:
        return WireError(f"malformed {_TAGS.get(tag, 'value') if type(tag) is str else 'value'}")

    def hashable(item: Any) -> Any:
        try:
            hash(item)
        except TypeError as error:
            raise WireError("an unhashable key or set member") from error
        return item

    def walk(item: Any, depth: int) -> Any:
        counter.step(depth)
        kind = type(item)
        if item is None or kind in (bool, int, float, str, bytes):
            return item
        if kind is not list or not item or type(item[0]) is not str:
            raise fail(None)
        tag, *rest = item
        try:
            if tag in ("l", "t", "s", "f"):
                (members,) = rest
                if type(members) is not list:
                    raise fail(tag)
                values = [walk(x, depth + 1) for x in members]
                if tag == "l":
                    return values
                if tag == "t":
                    return tuple(values)
                values = [hashable(x) for x in values]
                return set(values) if tag == "s" else frozenset(values)
            if tag == "d":
                (pairs,) = rest
                return {
                    hashable(walk(key, depth + 1)): walk(value, depth + 1) for key, value in pairs
                }
            if tag == "i":
                (data,) = rest
                counter.step_big()
                if len(data) > 513:
                    raise fail(tag)
                return int.from_bytes(data, "big", signed=True)
            if tag == "z":
                real, imaginary = rest
                return complex(float(real), float(imaginary))
            if tag == "a":
                return _decode_array(*rest)
            if tag == "n":
                return _decode_array(rest[0], [], rest[1])[()]
            if tag == "T":
                return _decode_tensor(*rest)
            if tag in ("R", "S"):
                parts = [walk(x, depth + 1) for x in rest]
                if not all(part is None or type(part) is int for part in parts):
                    raise fail(tag)
                return counter.step_range(range(*parts)) if tag == "R" else slice(*parts)
            if tag == "E":
                return Ellipsis
            if tag in ("h", "c", "r"):
                made = _decode_special(tag, rest)
                if special is None:
                    raise WireError(f"a {_TAGS[tag]} is not expected here")
                return special(made)
        except (TypeError, ValueError, LookupError, OverflowError, MemoryError) as error:
            if isinstance(error, WireError):
                raise
            raise fail(tag) from error
        raise WireError(f"unknown tag {tag[:20]!r}")

    return walk(document, 0)


def _decode_special(tag: str, rest: list) -> Handle | Callback | Reference:
    if tag == "r":
        (name,) = rest
        if type(name) is not str or not name.isidentifier():
            raise WireError("malformed reference")
        return Reference(name)
    number, *more = rest
    if type(number) is not int or number < 0:
        raise WireError(f"malformed {_TAGS[tag]}")
    if tag == "c":
        return Callback(number)
    (type_name,) = more
    if type(type_name) is not str:
        raise WireError("malformed handle")
    return Handle(number, type_name[:100])


def _decode_array(code: str, shape: list, data: bytes) -> np.ndarray:
    dtype = np.dtype(code) if type(code) is str and len(code) <= 5 else None
    if dtype is None or dtype.kind not in NUMPY_KINDS or dtype.itemsize > 16:
        raise WireError("malformed NumPy array")
    if type(data) is not bytes or type(shape) is not list or len(shape) > 32:
        raise WireError("malformed NumPy array")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise WireError("malformed NumPy array")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError("a NumPy array whose bytes do not fit its shape")
    if dtype.kind == "b" and data.strip(b"\x00\x01"):
        raise WireError("a boolean array with bytes other than 0 and 1")
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()


def _decode_tensor(name: str, shape: list, data: bytes, requires_grad: bool) -> Any:
    if name not in TORCH_DTYPES or type(requires_grad) is not bool:
        raise WireError("malformed torch tensor")
    import torch

    code = "int16" if name == "bfloat16" else name
    array = _decode_array(np.dtype(code).newbyteorder("<").str, shape, data)
    tensor = torch.from_numpy(array)
    if name == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    if requires_grad:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise WireError("an integer tensor that requires a gradient")
        tensor.requires_grad_(True)
    return tensor


def pack(document: Any, limits: Limits | None = None) -> bytes:
    """A msgpack document as one frame. Raises :class:`WireError` when it is too large."""
    limits = limits or Limits()
    body = msgpack.packb(document, use_bin_type=True, unicode_errors="surrogatepass")
    if len(body) > limits.frame:
        raise WireError(f"a frame of {len(body)} bytes; at most {limits.frame} are allowed")
    return struct.pack(">I", len(body)) + body


def unpack(body: bytes, limits: Limits | None = None) -> Any:
    """The msgpack document of a frame's body. Raises :class:`WireError` for anything else."""
    limits = limits or Limits()
    try:
        return msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            unicode_errors="surrogatepass",
            max_ext_len=0,
            max_map_len=1024,
            max_array_len=limits.items,
        )
    except Exception as error:  # msgpack has a dozen exception types, RecursionError included
        raise WireError(f"not a msgpack document ({type(error).__name__})") from error


def write_frame(stream: BinaryIO, document: Any, limits: Limits | None = None) -> None:
    stream.write(pack(document, limits))
    stream.flush()


class Readable(Protocol):
    """Anything with ``read(size)``."""

    def read(self, size: int, /) -> bytes: ...


def _exactly(stream: Readable, size: int) -> Iterator[bytes]:
    while size:
        chunk = stream.read(min(size, 2**20))
        if not chunk:
            raise WireError("the stream ended inside a frame")
        size -= len(chunk)
        yield chunk


def read_frame(stream: Readable, limits: Limits | None = None) -> Any | None:
    """The next document of a stream, or ``None`` at its end."""
    limits = limits or Limits()
    head = stream.read(4)
    if not head:
        return None
    while len(head) < 4:
        more = stream.read(4 - len(head))
        if not more:
            raise WireError("the stream ended inside a frame")
        head += more
    (size,) = struct.unpack(">I", head)
    if size > limits.frame:
        raise WireError(f"a frame of {size} bytes; at most {limits.frame} are allowed")
    return unpack(b"".join(_exactly(stream, size)), limits)
