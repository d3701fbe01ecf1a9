"""The referee: runs the checks, and speaks with the student's process through data only.

Does: hold the checks, the expected values and the grading seed in a trusted process; let the
student's functions, classes and objects appear there as proxies; decide each check's verdict.
Does not: run any code of the student, unpickle, or believe an object's own ``__eq__``.

A proxy (:class:`Remote`) forwards calls, attributes, items and arithmetic. Whatever comes back is
rebuilt from raw data by exact type; comparisons happen here. A prelude function that is handed a
proxy runs on the student's side (so gradients never cross the wire).
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import signal
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autograder.lines import Line, LocalLine, StudentDied, StudentTimeout
from autograder.manifest import Check, Manifest, TimeLimits
from autograder.model import CheckResult, Verdict
from autograder.wire import (
    Callback,
    Handle,
    Limits,
    Reference,
    WireError,
    decode,
    encode,
    pack,
    read_frame,
)

__all__ = [
    "Line",
    "LocalLine",
    "Nonsense",
    "Referee",
    "Remote",
    "Student",
    "StudentDied",
    "StudentError",
    "StudentTimeout",
    "grade_cells",
]

# What one reply of the student's process may hold; checks exchange small arrays.
REPLY_LIMITS = Limits(frame=64 * 2**20, items=1_000_000)
MESSAGE_LENGTH = 2000


class StudentError(Exception):
    """The student's code raised; ``type_name`` and ``line`` (in its cell) say what and where."""

    def __init__(self, type_name: str, message: str, line: int | None = None) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name, self.message, self.line = type_name, message, line


class Nonsense(Exception):
    """The student's process sent something that no honest process sends."""


@functools.cache
def student_error_type(type_name: str) -> type[StudentError]:
    """``StudentError`` that can also be caught as the builtin exception of that name."""
    base = getattr(builtins, type_name, None)
    if (
        isinstance(base, type)
        and issubclass(base, Exception)
        and not issubclass(base, AssertionError | OSError | UnicodeError | ImportError)
    ):
        with contextlib.suppress(TypeError):
            return type(f"Student{type_name}", (StudentError, base), {})
    return StudentError


class Student:
    """The referee's end of the line to one student process."""

    def __init__(self, line: Line, limits: TimeLimits) -> None:
        self.line, self.limits = line, limits
        self.deadline = 0.0
        self.requests = 0
        self.functions: dict[int, Callable] = {}
        self.references: dict[int, str] = {}  # id of a prelude object -> its name

    # --- the line ---------------------------------------------------------------------------

    def send(self, document: Mapping[str, Any], deadline: float) -> None:
        self.line.write(pack(document), deadline)

    def read(self, size: int) -> bytes:
        """What ``read_frame`` reads from."""
        return self.line.read(size, self.deadline)

    def receive(self, deadline: float) -> dict[str, Any]:
        self.deadline = deadline
        try:
            reply = read_frame(self, REPLY_LIMITS)
        except WireError as error:
            if "ended inside" in str(error):
                raise StudentDied from error
            raise Nonsense(str(error)) from error
        if reply is None:
            raise StudentDied
        if type(reply) is not dict:
            raise Nonsense("a reply that is no dictionary")
        return reply

    def request(self, document: Mapping[str, Any], seconds: float) -> Any:
        """Send one request, serve its callbacks, and return the decoded value of the reply."""
        deadline = time.monotonic() + seconds
        self.requests += 1
        self.send({**document, "number": self.requests}, deadline)
        callbacks = 0
        while "callback" in (reply := self.receive(deadline)):
            callbacks += 1
            if callbacks > self.limits.callbacks_per_call:
                raise StudentTimeout
            self.send(self.call_back(reply), deadline)
        if reply.get("number") != self.requests:
            raise Nonsense("a reply to a question that was not asked")
        if reply.get("ok") is True:
            return self.incoming(reply.get("value"))
        raise self.error_of(reply.get("error"))

    def call_back(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        number = reply["callback"]
        function = self.functions.get(number) if type(number) is int else None
        if function is None:
            raise Nonsense("a callback that nobody offered")
        args, kwargs = self.incoming(reply.get("args")), self.incoming(reply.get("kwargs"))
        if type(args) is not list or type(kwargs) is not dict:
            raise Nonsense("a callback with malformed arguments")
        try:
            return {"ok": True, "value": self.outgoing(function(*args, **kwargs))}
        except (StudentDied, StudentTimeout, Nonsense):
            raise
        except Exception as error:  # told to the student as plain text, without a traceback
            return {"ok": False, "error": {"message": f"{type(error).__name__}: {error}"[:500]}}

    @staticmethod
    def error_of(record: Any) -> StudentError:
        if type(record) is not dict:
            raise Nonsense("an error without a record")
        name, message, line = (record.get(key) for key in ("type", "message", "line"))
        if type(name) is not str or type(message) is not str:
            raise Nonsense("a malformed error record")
        name = name if name.isidentifier() else "Exception"
        line = line if type(line) is int else None
        return student_error_type(name)(name, message[:MESSAGE_LENGTH], line)

    # --- values -----------------------------------------------------------------------------

    def outgoing(self, value: Any) -> Any:
        return encode(value, self.special)

    def special(self, value: Any) -> Handle | Callback | Reference | None:
        if type(value) is Remote:
            return Handle(object.__getattribute__(value, "_number"), "")
        if name := self.references.get(id(value)):
            return Reference(name)
        if callable(value):
            number = len(self.functions)
            self.functions[number] = value
            return Callback(number)
        return None

    def incoming(self, document: Any) -> Any:
        try:
            return decode(document, self.proxy, REPLY_LIMITS)
        except WireError as error:
            raise Nonsense(str(error)) from error

    def proxy(self, special: Handle | Callback | Reference) -> Any:
        if type(special) is Handle:
            return Remote(self, special)
        if type(special) is Callback and special.number in self.functions:
            return self.functions[special.number]
        raise WireError("a reference where an object is expected")

    # --- what the grader asks for -----------------------------------------------------------

    def prelude(self, sources: Sequence[str], blocked: Sequence[str]) -> None:
        request = {"op": "prelude", "sources": list(sources), "blocked": list(blocked)}
        self.request(request, self.limits.cell_seconds + 30)

    def run(self, cell: str, source: str) -> dict[str, Any]:
        request = {"op": "run", "cell": cell, "source": source}
        return self.request(request, self.limits.cell_seconds)

    def export(self, names: Sequence[str]) -> dict[str, Any]:
        found = self.request({"op": "export", "names": list(names)}, self.limits.call_seconds)
        if type(found) is not dict or not set(found) <= set(names):
            raise Nonsense("exported names that nobody asked for")
        return found

    def ask(self, what: str, target: Any, args: Sequence[Any], **more: Any) -> Any:
        document = {
            "op": what,
            "target": self.outgoing(target),
            "args": self.outgoing(list(args)),
            **more,
        }
        return self.request(document, self.limits.call_seconds)

    def call(self, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self.ask("call", target, args, kwargs=self.outgoing(dict(kwargs)))


class Remote:
    """A student's object as the referee sees it. See the module's docstring."""

    __slots__ = ("_number", "_student", "_type_name")

    def __init__(self, student: Student, handle: Handle) -> None:
        object.__setattr__(self, "_student", student)
        object.__setattr__(self, "_number", handle.number)
        object.__setattr__(self, "_type_name", handle.type_name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._student.call(self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._student.ask("get", self, [name])

    def __setattr__(self, name: str, value: Any) -> None:
        self._student.ask("set", self, [name, value])

    def __eq__(self, other: object) -> bool:
        """The same object on the student's side; the object itself is not asked."""
        return type(other) is Remote and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        raise TypeError(f"a {self._type_name} is neither true nor false: it is no plain data")

    def __repr__(self) -> str:
        return f"<{self._type_name} of the submission>"


def _forward(name: str) -> Callable:
    def method(self: Remote, *args: Any) -> Any:
        return self._student.ask("operate", self, args, name=name)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul", "neg", "getitem", "setitem", "abs"):
    setattr(Remote, f"__{_name}__", _forward(_name))
for _name in ("len", "float", "int"):
    setattr(Remote, f"__{_name}__", _forward(_name))


def _holds_remote(value: Any, depth: int = 0) -> bool:
    if type(value) is Remote:
        return True
    if depth > 4:
        return False
    if type(value) in (list, tuple, set, frozenset):
        return any(_holds_remote(item, depth + 1) for item in value)
    if type(value) is dict:
        return any(_holds_remote(item, depth + 1) for item in value.values())
    return False


class _OutOfTime(BaseException):
    """Raised by the alarm; a BaseException, so that a check's own ``except`` does not eat it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`StudentTimeout` in this (main) thread after ``seconds``."""

    def expired(*_: object) -> None:
        raise _OutOfTime

    if not hasattr(signal, "setitimer"):  # Windows: self-checks run without this limit
        yield
        return
    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _OutOfTime:
        raise StudentTimeout from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Referee:
    """Runs the checks of one stage against one student process."""

    def __init__(self, manifest: Manifest, seed: int) -> None:
        self.manifest = manifest
        self.names: dict[str, Any] = {"__name__": "prelude"}
        for index, source in enumerate(manifest.prelude):
            exec(compile(source, f"<prelude-{index}>", "exec"), self.names)
        self.names["GRADING_SEED"] = seed

    def namespace(self, student: Student, exported: Mapping[str, Any]) -> dict[str, Any]:
        """Prelude names (functions that can run on the student's side) and the student's own."""
        names = dict(self.names)
        for name, value in self.names.items():
            if name.startswith("__") or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, types.FunctionType) and value.__module__ == "prelude":
                names[name] = self.dispatching(student, name, value)
                student.references[id(names[name])] = name
            if callable(value):
                student.references[id(value)] = name
        return names | dict(exported)

    @staticmethod
    def dispatching(student: Student, name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _holds_remote(args) or _holds_remote(kwargs):
                return student.call(Reference(name), args, kwargs)
            return function(*args, **kwargs)

        return call

    def judge(
        self, check: Check, student: Student, exported: Mapping[str, Any], visible: bool = False
    ) -> CheckResult:
        """One check's verdict. Raises ``StudentDied``, ``StudentTimeout`` or ``Nonsense``: then the
        process cannot be used any more, and the caller decides how to go on."""
        names = self.namespace(student, exported)
        source = check.visible if visible else check.source
        verdict, message = Verdict.AC, ""
        try:
            with time_limit(self.manifest.limits.check_seconds):
                exec(compile(source, f"<{check.id}>", "exec"), names)
        except AssertionError as error:
            verdict, message = Verdict.WA, str(error) or "the check failed"
        except StudentError as error:
            where = f" (line {error.line} of your cell)" if error.line else ""
            verdict, message = Verdict.RE, f"your code raised {error}{where}"
        except NameError as error:
            missing = getattr(error, "name", None) or "a name"
            verdict = Verdict.RE
            message = f"'{missing}' does not exist: its cell is missing or stopped with an error"
        except (StudentTimeout, StudentDied, Nonsense):
            raise
        except Exception as error:
            verdict = Verdict.WA
            message = f"the check could not use what your code returned ({type(error).__name__})"
        points = check.points if verdict is Verdict.AC else 0.0
        return CheckResult(check.id, verdict, points, check.points, message[:MESSAGE_LENGTH])


def grade_cells(
    manifest: Manifest,
    cells: Sequence[tuple[str, str]],
    start: Callable[[], Line],
    *,
    seed: int,
    visible: bool = False,
) -> list[CheckResult]:
    """Grade a submission's code cells ``(id, source)``; one result per check, in order.

    ``start`` opens a line to a new student process. After a process died or hung, later checks
    get a new one in which the cells that killed it are left out, so points already earned stay.
    """
    referee = Referee(manifest, seed)
    deadly: dict[str, Verdict] = {}
    failed: dict[str, str] = {}
    results: list[CheckResult] = []
    owner = {cell.id: cell.exercise for cell in manifest.cells}
    student: Student | None = None
    exported: dict[str, Any] = {}

    def open_student() -> Student:
        nonlocal exported
        while True:
            new = Student(start(), manifest.limits)
            try:
                new.prelude(manifest.prelude, manifest.blocked_modules)
                for cell, source in cells:
                    if cell in deadly:
                        continue
                    try:
                        new.run(cell, source)
                    except StudentError as error:
                        failed[cell] = str(error)
                    except (StudentDied, StudentTimeout, Nonsense) as error:
                        deadly[cell] = (
                            Verdict.TLE if isinstance(error, StudentTimeout) else Verdict.RE
                        )
                        raise
                wanted = [name for names in manifest.exports.values() for name in names]
                exported = new.export(wanted)
                return new
            except (StudentDied, StudentTimeout, Nonsense):
                new.line.kill()
                if len(deadly) > len(cells):
                    raise

    try:
        for check in manifest.checks:
            lost = next(
                (v for cell, v in deadly.items() if owner.get(cell) == check.exercise), None
            )
            if lost is not None:
                message = (
                    "this exercise's cell did not finish in time"
                    if lost is Verdict.TLE
                    else "this exercise's cell ended the process"
                )
                results.append(CheckResult(check.id, lost, 0.0, check.points, message))
                continue
            if student is None:
                student = open_student()
                if any(owner.get(cell) == check.exercise for cell in deadly):
                    cell = next(c for c in deadly if owner.get(c) == check.exercise)
                    message = "this exercise's cell ended the process or did not finish in time"
                    results.append(CheckResult(check.id, deadly[cell], 0.0, check.points, message))
                    continue
            try:
                results.append(referee.judge(check, student, exported, visible))
            except (StudentTimeout, StudentDied, Nonsense) as error:
                verdict, message = {
                    StudentTimeout: (Verdict.TLE, "no answer in time"),
                    StudentDied: (Verdict.RE, "your code ended the process"),
                    Nonsense: (Verdict.WA, f"what came back is no plain data: {error}"),
                }[type(error)]
                results.append(CheckResult(check.id, verdict, 0.0, check.points, message))
                student.line.kill()
                student = None
    finally:
        if student is not None:
            student.line.kill()
    return results
