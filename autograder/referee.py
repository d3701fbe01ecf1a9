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
import errno
import functools
import random
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autograder.lines import Line, LocalLine, OutsideFault, StudentDied, StudentTimeout
from autograder.manifest import Check, Manifest, TimeLimits
from autograder.model import CheckResult, Flag, Verdict
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
    "OutsideFault",
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
MOST_DEATHS = 3  # outside a cell or a check; then the rest of the checks is lost

# What the watchdog's reasons mean (see ``sandbox``).
REASONS = {
    "memory": (Verdict.MLE, "your code used more memory than is allowed"),
    "cpu": (Verdict.TLE, "your code used more processor time than is allowed"),
    "processes": (Verdict.PIDLE, "your code started more processes or threads than are allowed"),
    "disk": (Verdict.FSLE, "your code wrote more to disk than is allowed"),
}


class StudentError(Exception):
    """The student's code raised; ``type_name`` and ``line`` (in its cell) say what and where."""

    def __init__(
        self, type_name: str, message: str, line: int | None = None, number: int | None = None
    ) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name, self.message, self.line, self.number = type_name, message, line, number

    @property
    def verdict(self) -> Verdict:
        """RE, or the limit that the exception speaks of. Points never depend on it."""
        if self.number in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
            return Verdict.FSLE
        if self.number == errno.EAGAIN or "can't start new thread" in self.message:
            return Verdict.PIDLE
        if self.type_name == "MemoryError" or "can't allocate memory" in self.message:
            return Verdict.MLE
        return Verdict.RE


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
        self.prelude_names: dict[str, Any] = {}  # keeps those objects alive: ids are used again

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
        number = record.get("errno")
        number = number if type(number) is int else None
        return student_error_type(name)(name, message[:MESSAGE_LENGTH], line, number)

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

    def __iter__(self) -> Iterator[Any]:
        """All items at once, as ``list`` gives them on the student's side."""
        items = self._student.ask("operate", self, [], name="list")
        if type(items) is not list:
            raise Nonsense("a list that is none")
        return iter(items)

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


def _torch_dtype() -> str:
    """The name of torch's default dtype, ``"float32"`` where torch is not imported."""
    torch = sys.modules.get("torch")
    return str(torch.get_default_dtype()).removeprefix("torch.") if torch else "float32"


def _use_torch_dtype(name: str) -> None:
    """Make new tensors, and so random weights, those of a process of the stage's own."""
    if torch := sys.modules.get("torch"):
        torch.set_default_dtype(getattr(torch, name))


def _seed_generators(seed: int) -> None:
    """Checks that draw from a global generator draw the same numbers in every run."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


class Referee:
    """Runs the checks of one stage. The prelude is executed once, when it is made."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.names: dict[str, Any] = {"__name__": "prelude"}
        _use_torch_dtype("float32")  # another stage's prelude may have changed it in this process
        for index, source in enumerate(manifest.prelude):
            exec(compile(source, f"<prelude-{index}>", "exec"), self.names)
        self.torch_dtype = _torch_dtype()
        self.seed = 0

    def use_seed(self, seed: int) -> None:
        """The seed of the next submission's hidden inputs."""
        self.seed = self.names["GRADING_SEED"] = seed

    def namespace(self, student: Student, exported: Mapping[str, Any]) -> dict[str, Any]:
        """Prelude names (functions that can run on the student's side) and the student's own."""
        if not student.prelude_names:
            names = dict(self.names)
            for name, value in self.names.items():
                if name.startswith("__") or isinstance(value, types.ModuleType):
                    continue
                if isinstance(value, types.FunctionType) and value.__module__ == "prelude":
                    names[name] = self.dispatching(student, name, value)
                    student.references[id(names[name])] = name
                if callable(value):
                    student.references[id(value)] = name
            student.prelude_names = names
        return student.prelude_names | dict(exported)

    @staticmethod
    def dispatching(student: Student, name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _holds_remote(args) or _holds_remote(kwargs):
                return student.call(Reference(name), args, kwargs)
            return function(*args, **kwargs)

        return call

    def judge(
        self,
        check: Check,
        student: Student,
        exported: Mapping[str, Any],
        visible: bool = False,
        failed: StudentError | None = None,
    ) -> CheckResult:
        """One check's verdict. ``failed`` is how the exercise's cell stopped, if it did.

        Raises ``StudentDied``, ``StudentTimeout`` or ``Nonsense``: then the process cannot be used
        any more, and the caller decides how to go on."""
        names = self.namespace(student, exported)
        source = check.visible if visible else check.source
        verdict, message = Verdict.AC, ""
        _use_torch_dtype(self.torch_dtype)
        _seed_generators(self.seed)
        try:
            with time_limit(self.manifest.limits.check_seconds):
                exec(compile(source, f"<{check.id}>", "exec"), names)
        except AssertionError as error:
            verdict, message = Verdict.WA, str(error) or "the check failed"
        except StudentError as error:
            where = f" (line {error.line} of your cell)" if error.line else ""
            verdict, message = error.verdict, f"your code raised {error}{where}"
            if error.type_name == "NotImplementedError" and not error.message:
                message = f"not answered yet: the released stub is still there{where}"
        except NameError as error:
            missing = getattr(error, "name", None) or "a name"
            verdict = failed.verdict if failed else Verdict.RE
            why = f"its cell stopped with {failed}" if failed else "no cell defines it"
            message = f"'{missing}' does not exist: {why}"
        except (StudentTimeout, StudentDied, Nonsense):
            raise
        except Exception as error:
            verdict = Verdict.WA
            message = f"the check could not use what your code returned ({type(error).__name__})"
        points = check.points if verdict is Verdict.AC else 0.0
        return CheckResult(check.id, verdict, points, check.points, message[:MESSAGE_LENGTH])


TOO_LONG = (Verdict.TLE, "the whole submission took too long; this check was not reached")


def _signal_name(code: int | None) -> str:
    """`` (SIGSEGV)`` for an exit status of -11; nothing where the process was ended from here."""
    known = {-s.value: s.name for s in signal.Signals if s.name != "SIGKILL"}
    return f" ({known[code]})" if code in known else ""


class _Grading:
    """One submission's way through the checks: its process, and what its code has lost."""

    def __init__(
        self,
        referee: Referee,
        cells: Sequence[tuple[str, str]],
        start: Callable[[], Line],
        observed: set[Flag],
    ) -> None:
        self.referee, self.manifest, self.observed = referee, referee.manifest, observed
        self.deadline = time.monotonic() + self.manifest.limits.submission_seconds
        self.failed: dict[str, StudentError] = {}  # exercise -> how its cell stopped
        self.cells, self.start = cells, start
        self.exercise_of = {cell.id: cell.exercise for cell in self.manifest.cells}
        self.left_out: dict[str, tuple[Verdict, str]] = {}  # cells that ended their process
        self.given_up: tuple[Verdict, str] | None = None  # for all checks that are left
        self.deaths = 0
        self.student: Student | None = None
        self.exported: dict[str, Any] = {}

    def close(self) -> int | None:
        """End the process, if there is one; its exit status where the line can tell."""
        if self.student is None:
            return None
        line, self.student = self.student.line, None
        return line.kill()

    def end(self, error: Exception, what: str = "your code") -> tuple[Verdict, str]:
        """End the process after ``error``; the verdict for what ran at that time.

        Raises :class:`OutsideFault` when the process was ended by something else than its code.
        """
        assert self.student is not None
        line = self.student.line
        if isinstance(error, Nonsense) and not str(error).startswith(("a frame of", "more than")):
            self.observed.add(Flag.SUSPICIOUS)  # no honest process sends that
        if isinstance(error, StudentDied) and hasattr(line, "ended"):
            line.ended(2.0)  # so that the exit status is its own
        code = self.close()
        if fault := getattr(line, "outside", None):
            raise OutsideFault(fault) from error
        reason = getattr(line, "reason", None)
        if reason in (None, "cpu") and getattr(line, "crowded", False):
            reason = "processes"
        if reason is None and code == -signal.Signals.SIGXCPU:
            reason = "cpu"
        if reason is not None:
            return REASONS[reason]
        if isinstance(error, StudentTimeout):
            return Verdict.TLE, f"{what} did not finish in time"
        if isinstance(error, StudentDied):
            return Verdict.RE, f"{what} ended the process{_signal_name(code)}"
        return Verdict.WA, f"what came back is no plain data: {error}"

    def lost(self, check: Check) -> tuple[Verdict, str] | None:
        """Why a check is lost before it runs."""
        for cell, why in self.left_out.items():
            if self.exercise_of.get(cell) == check.exercise:
                return why
        return self.given_up

    def open(self) -> None:
        """A process in which all cells ran but those that end it; or the rest is given up."""
        while self.student is None and self.given_up is None:
            if time.monotonic() > self.deadline:
                self.given_up = TOO_LONG
                return
            self.student = Student(self.start(), self.manifest.limits)
            try:
                self.student.prelude(self.manifest.prelude, self.manifest.blocked_modules)
            except (StudentDied, StudentTimeout, Nonsense) as error:  # no student code ran yet
                self.end(error)
                text = f"the prelude did not run on the student's side ({type(error).__name__})"
                raise OutsideFault(text) from error
            if self.run_cells():
                self.export()

    def run_cells(self) -> bool:
        """Whether the process is alive after the cells; the one that ended it is left out."""
        assert self.student is not None
        self.failed.clear()
        for cell, source in self.cells:
            if cell in self.left_out:
                continue
            try:
                if time.monotonic() > self.deadline:
                    raise StudentTimeout
                reply = self.student.run(cell, source)
                if type(reply) is dict and reply.get("lost"):
                    self.observed.add(Flag.OUTPUT_CUT)
            except StudentError as error:  # shows in the checks, as in a notebook
                if exercise := self.exercise_of.get(cell):
                    self.failed[exercise] = error
                if error.number == errno.EAFNOSUPPORT:
                    self.observed.add(Flag.SUSPICIOUS)  # there is no network; it was asked for
            except (StudentDied, StudentTimeout, Nonsense) as error:
                self.left_out[cell] = self.end(error, "this exercise's cell")
                return False
        return True

    def export(self) -> None:
        assert self.student is not None
        exports = self.manifest.exports
        try:
            try:
                self.exported = self.student.export(
                    [n for names in exports.values() for n in names]
                )
            except StudentError:  # one value cannot travel: the others are asked for one by one
                self.exported = {}
                for exercise, names in exports.items():
                    self.export_singly(exercise, names)
        except (StudentDied, StudentTimeout, Nonsense) as error:
            why = self.end(error)
            self.deaths += 1
            if self.deaths >= MOST_DEATHS:
                self.given_up = why

    def export_singly(self, exercise: str, names: Sequence[str]) -> None:
        assert self.student is not None
        for name in names:
            try:
                self.exported |= self.student.export([name])
            except StudentError as error:
                self.failed[exercise] = error

    def check(self, check: Check, visible: bool) -> CheckResult:
        why = self.lost(check)
        if why is None and self.student is None:
            self.open()
            why = self.lost(check)
        if why is None:
            assert self.student is not None
            try:
                failed = self.failed.get(check.exercise)
                return self.referee.judge(check, self.student, self.exported, visible, failed)
            except (StudentTimeout, StudentDied, Nonsense) as error:
                why = self.end(error)
        verdict, message = why
        return CheckResult(check.id, verdict, 0.0, check.points, message[:MESSAGE_LENGTH])


def grade_cells(
    manifest: Manifest,
    cells: Sequence[tuple[str, str]],
    start: Callable[[], Line],
    *,
    seed: int,
    visible: bool = False,
    referee: Referee | None = None,
    observed: set[Flag] | None = None,
) -> list[CheckResult]:
    """Grade a submission's code cells ``(id, source)``; one result per check, in order.

    ``start`` opens a line to a new student process. After a process died or hung, later checks
    get a new one in which the cells that killed it are left out, so points already earned stay.
    ``referee`` is one that is ready (its prelude ran); by default a new one is made. Raises
    :class:`OutsideFault` when something else than the submission broke. What a person may want to
    look at is added to ``observed``.
    """
    referee = referee or Referee(manifest)
    referee.use_seed(seed)
    grading = _Grading(referee, cells, start, observed if observed is not None else set())
    try:
        return [grading.check(check, visible) for check in manifest.checks]
    finally:
        grading.close()
