"""The student's side of a grading session: run cells, answer calls. Holds no test and no answer.

Does: execute the prelude and a submission's cells with IPython's semantics in one namespace, keep
the student's objects, and answer the referee's questions about them with plain data.
Does not: judge anything, and trust nothing: whatever runs here may have been rewritten by the
submission, so the referee checks every byte that this process sends.

Started as ``python -P -m autograder.student`` it talks over its standard input and output (the
cells get neither); the sandbox calls :func:`serve` in a forked child instead.

Requests and replies are dictionaries on :mod:`autograder.wire`. Every request gets one reply:
``{"ok": true, "value": ...}`` or ``{"ok": false, "error": {"type", "message", "line"}}``. During
a request the child may send ``{"callback": number, "args", "kwargs"}`` any number of times and
gets a reply of the same form for each. Each reply repeats the ``number`` of its request.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.abc
import inspect
import io
import operator
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, BinaryIO

from autograder.wire import (
    Callback,
    Handle,
    Limits,
    Reference,
    WireError,
    decode,
    encode,
    read_frame,
    write_frame,
)

MESSAGE_LENGTH = 2000  # characters of an error message that travel
OUTPUT_LENGTH = 20_000  # characters of a cell's printed text that travel

OPERATIONS = {
    name: getattr(operator, name)
    for name in (
        *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "neg", "pos"),
        *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "xor", "invert", "not_", "truth"),
        *("getitem", "setitem", "delitem", "contains"),
    )
} | {"len": len, "float": float, "int": int, "bool": bool, "abs": abs, "list": list, "str": str}


class BlockedModules(importlib.abc.MetaPathFinder):
    """Makes the modules that hold this stage's answers impossible to import."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if any(fullname == name or fullname.startswith(name + ".") for name in self.names):
            raise ModuleNotFoundError(
                f"{fullname} is locked while this stage is graded: it holds the answers",
                name=fullname,
            )

    def install(self) -> None:
        for loaded in list(sys.modules):
            if any(loaded == name or loaded.startswith(name + ".") for name in self.names):
                del sys.modules[loaded]
                parent, _, child = loaded.rpartition(".")
                if parent in sys.modules:
                    with contextlib.suppress(AttributeError):
                        delattr(sys.modules[parent], child)
        sys.meta_path.insert(0, self)


def error_record(error: BaseException) -> dict[str, Any]:
    """What may be told about an exception: type name, text, line in the cell. Never raises."""
    name = type(error).__name__ if type(type(error)) is type else "Exception"
    try:
        message = str(error)[:MESSAGE_LENGTH]
    except BaseException:
        message = "(the exception's own text could not be made)"
    line = None
    with contextlib.suppress(BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith("<cell")]
        line = own[-1].lineno if own else None
    number = None
    with contextlib.suppress(BaseException):
        number = error.errno if isinstance(error, OSError) and type(error.errno) is int else None
    return {"type": name[:100], "message": message, "line": line, "errno": number}


class _Capped(io.TextIOBase):
    """A text stream that keeps the first ``limit`` characters and counts the rest."""

    def __init__(self, limit: int) -> None:
        self.limit, self.parts, self.size, self.lost = limit, [], 0, 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = max(0, self.limit - self.size)
        if room:
            self.parts.append(text[:room])
            self.size += min(room, len(text))
        self.lost += max(0, len(text) - room)
        return len(text)

    def text(self) -> str:
        return "".join(self.parts)


def _make_shell(namespace: dict[str, Any]) -> Any:
    """An IPython shell on the namespace, for its syntax and magics; it draws no windows."""
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        def enable_gui(self, gui: str | None = None) -> None:
            """``%matplotlib inline`` asks for this; there is no window here."""

    return Shell(user_ns=namespace)


class Session:
    """One submission's namespace and the objects that the referee holds handles of."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO, limits: Limits | None = None) -> None:
        self.reader, self.writer, self.limits = reader, writer, limits or Limits()
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        self.prelude: dict[str, Any] = {}
        self.objects: dict[int, Any] = {}
        self.shell: Any = None

    # --- values -----------------------------------------------------------------------------

    def outgoing(self, value: Any) -> Any:
        return encode(value, self.keep, self.limits)

    def keep(self, value: Any) -> Handle:
        number = len(self.objects)
        self.objects[number] = value
        return Handle(number, type(value).__name__)

    def incoming(self, document: Any) -> Any:
        return decode(document, self.resolve, self.limits)

    def resolve(self, special: Handle | Callback | Reference) -> Any:
        if type(special) is Handle:
            if special.number not in self.objects:
                raise WireError(f"no object {special.number} here")
            return self.objects[special.number]
        if type(special) is Reference:
            if special.name not in self.prelude:
                raise WireError(f"the prelude has no name {special.name!r}")
            return self.prelude[special.name]
        return self.callback(special.number)

    def callback(self, number: int) -> Any:
        def call_back(*args: Any, **kwargs: Any) -> Any:
            request = {
                "callback": number,
                "args": self.outgoing(list(args)),
                "kwargs": self.outgoing(kwargs),
            }
            write_frame(self.writer, request, self.limits)
            reply = read_frame(self.reader, self.limits)
            if not isinstance(reply, dict):
                os._exit(3)
            if not reply.get("ok"):
                raise RuntimeError(reply["error"]["message"])
            return self.incoming(reply["value"])

        return call_back

    # --- requests ---------------------------------------------------------------------------

    def run_prelude(self, sources: Sequence[str], blocked: Sequence[str]) -> None:
        for index, source in enumerate(sources):
            exec(compile(source, f"<cell prelude-{index}>", "exec"), self.namespace)
        hidden = ("__name__", "__builtins__")
        self.prelude = {k: v for k, v in self.namespace.items() if k not in hidden}
        BlockedModules(blocked).install()

    def run_cell(self, cell: str, source: str) -> dict[str, Any]:
        """Execute one cell; returns its printed text. Raises what the cell raises."""
        if self.shell is None:
            self.shell = _make_shell(self.namespace)
            self.shell.history_manager.enabled = False
            self.namespace = self.shell.user_ns
        out = _Capped(OUTPUT_LENGTH)
        transformed = self.shell.transform_cell(source)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(transformed, f"<cell {cell}>", "exec", flags, dont_inherit=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if code.co_flags & inspect.CO_COROUTINE:  # a cell with a bare ``await``
                asyncio.run(eval(code, self.namespace))
            else:
                exec(code, self.namespace)
        return {"output": out.text(), "lost": out.lost}

    def export(self, names: Sequence[str]) -> dict[str, Any]:
        """The named objects of the namespace; names that do not exist are left out."""
        return {name: self.namespace[name] for name in names if name in self.namespace}

    def answer(self, request: dict[str, Any]) -> Any:
        what = request["op"]
        if what == "prelude":
            return self.run_prelude(request["sources"], request["blocked"])
        if what == "run":
            return self.run_cell(request["cell"], request["source"])
        if what == "export":
            return self.export(request["names"])
        if what == "drop":
            for number in request["numbers"]:
                self.objects.pop(number, None)
            return None
        target = self.incoming(request["target"])
        args = self.incoming(request["args"])
        if what == "call":
            with contextlib.redirect_stdout(_Capped(0)), contextlib.redirect_stderr(_Capped(0)):
                return target(*args, **self.incoming(request["kwargs"]))
        if what == "get":
            return getattr(target, *args)
        if what == "set":
            return setattr(target, *args)
        if what == "operate":
            return OPERATIONS[request["name"]](target, *args)
        raise WireError(f"unknown request {what!r}")

    def serve(self) -> None:
        """Answer requests until the referee closes the line. A copy of this process that a cell
        forked and that comes back here ends: only one process may speak on the line."""
        own = os.getpid()
        while (request := read_frame(self.reader, self.limits)) is not None:
            try:
                reply = {"ok": True, "value": self.outgoing(self.answer(request))}
            except BaseException as error:
                reply = {"ok": False, "error": error_record(error)}
            if os.getpid() != own:
                os._exit(0)
            number = {"number": request["number"]}
            try:
                write_frame(self.writer, reply | number, self.limits)
            except WireError as error:
                reply = {"ok": False, "error": error_record(error)}
                write_frame(self.writer, reply | number, self.limits)


def serve(reader: BinaryIO, writer: BinaryIO) -> None:
    """Run a session on two streams, with standard input closed and output thrown away."""
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    sys.stdin = open(os.devnull)  # noqa: SIM115  (stays open as long as the process lives)
    Session(reader, writer).serve()


def main() -> None:
    """Talk over what are standard input and output at the start; the cells get neither."""
    reads, writes = os.dup(0), os.dup(1)
    with os.fdopen(reads, "rb") as reader, os.fdopen(writes, "wb") as writer:
        serve(reader, writer)


if __name__ == "__main__":
    main()
