"""The referee against honest, broken and hostile submissions of a small stage.

Each case runs in a real student process (without a sandbox: that is another test's business).
"""

import os

import pytest

from autograder.lines import LocalLine
from autograder.manifest import Check, Manifest, StudentCell, TimeLimits
from autograder.model import Verdict
from autograder.referee import grade_cells

PRELUDE = """
import numpy as np
from xor2gpt import checking

GRADING_SEED = 1
TABLE = np.arange(4.0)


def slope_at(function, x):
    '''Runs on the student's side: central difference of a student's function.'''
    return float((function(x + 1e-6) - function(x - 1e-6)) / 2e-6)
"""

CHECKS = {
    "double": """
got = double(np.array([1.0, 2.0]))
assert checking.close(got, [2.0, 4.0], atol=1e-9), "twice the input"
### BEGIN HIDDEN TESTS
x = np.random.default_rng(GRADING_SEED).normal(size=3)
assert checking.close(double(x.copy()), 2 * x, atol=1e-9), "wrong on random numbers"
### END HIDDEN TESTS
""",
    "apply": """
seen = []
assert apply(lambda v: seen.append(v) or v + 1, 3) == 5, "apply the function twice"
assert seen == [3, 4], "call it exactly twice"
""",
    "slope": "assert checking.close(slope_at(square, 3.0), 6.0, atol=1e-4), 'the slope is off'",
    "counter": """
counter = Counter()
counter.add(2)
counter.add(3)
assert counter.total == 5, "the total of 2 and 3"
""",
}
ANSWERS = {
    "double": "def double(x):\n    return 2 * x",
    "apply": "def apply(f, x):\n    return f(f(x))",
    "slope": "def square(x):\n    return x * x",
    "counter": (
        "class Counter:\n    def __init__(self):\n        self.total = 0\n\n"
        "    def add(self, n):\n        self.total += n"
    ),
}
EXPORTS = {"double": ["double"], "apply": ["apply"], "slope": ["square"], "counter": ["Counter"]}
LIMITS = TimeLimits(cell_seconds=2.0, call_seconds=1.0, check_seconds=3.0, callbacks_per_call=50)


def visible(source):
    return source.split("### BEGIN HIDDEN TESTS")[0]


MANIFEST = Manifest(
    stage="99_sample",
    prelude=[PRELUDE],
    cells=[StudentCell(name, "raise NotImplementedError", name) for name in ANSWERS],
    exports=EXPORTS,
    checks=[Check(f"{n}-check-1", n, 1.0, s, visible(s)) for n, s in CHECKS.items()],
    manual=[],
    blocked_modules=["xor2gpt.autograd"],
    demo_cells=[],
    limits=LIMITS,
)


def start():
    return LocalLine({**os.environ, "OMP_NUM_THREADS": "1"})


def grade(seed=5, visible=False, **answers):
    cells = [(name, answers.get(name, source)) for name, source in ANSWERS.items()]
    results = grade_cells(MANIFEST, cells, start, seed=seed, visible=visible)
    return {result.id.removesuffix("-check-1"): result for result in results}


def points(results):
    return sum(result.points for result in results.values())


def test_an_honest_submission_gets_all_points():
    results = grade()
    assert points(results) == 4, results
    assert {r.verdict for r in results.values()} == {Verdict.AC}


def test_a_memorised_answer_passes_the_visible_check_only():
    memorised = "def double(x):\n    return np.array([2.0, 4.0])"
    assert grade(visible=True, double=memorised)["double"].verdict is Verdict.AC
    result = grade(double=memorised)["double"]
    assert (result.verdict, result.message) == (Verdict.WA, "wrong on random numbers")


ALWAYS_EQUAL = """
class Yes:
    def __eq__(self, other):
        return True
    def __bool__(self):
        return True
    def __array__(self, *args, **kwargs):
        return np.array([2.0, 4.0])
    shape, dtype = (2,), np.dtype(float)
def double(x):
    return Yes()
"""
ARRAY_SUBCLASS = """
class Yes(np.ndarray):
    def __eq__(self, other):
        return True
    def __array_function__(self, *args, **kwargs):
        return True
    def __array_ufunc__(self, *args, **kwargs):
        return True
def double(x):
    return np.zeros(2).view(Yes)
"""
PATCHED_LIBRARIES = """
np.allclose = lambda *a, **k: True
np.testing.assert_allclose = lambda *a, **k: None
checking.close = lambda *a, **k: True
import builtins
builtins.AssertionError = type("Never", (Exception,), {})
builtins.isinstance = lambda *a: True
def double(x):
    return None
"""
PATCHED_PROTOCOL = """
import autograder.student as own, autograder.wire as wire, sys, gc
own.Session.answer = lambda self, request: True
wire.encode = own.encode = lambda *a, **k: True
"""
SHELL_HOOKS = """
ip = None
try:
    ip = get_ipython()
except NameError:
    pass
if ip is not None:
    ip.ast_transformers.clear()
    ip.run_cell = lambda *a, **k: None
double = None
"""
SEARCH_FOR_ANSWERS = """
import gc, sys, inspect
found = [o for o in gc.get_objects() if isinstance(o, str) and "wrong on random" + " numbers" in o]
frames = [str(f.frame.f_locals) for f in inspect.stack()]
leak = bool(found) or any("### BEGIN " + "HIDDEN" in f for f in frames)
def double(x):
    return 2 * x if leak else None
"""
LOCKED_MODULE = "from xor2gpt.autograd import Value\ndouble = lambda x: 2 * x"
SEED = "def double(x):\n    return 2 * x if GRADING_SEED != 1 else None"


@pytest.mark.parametrize(
    "cell",
    [
        ALWAYS_EQUAL,
        ARRAY_SUBCLASS,
        PATCHED_LIBRARIES,
        PATCHED_PROTOCOL,
        SHELL_HOOKS,
        SEARCH_FOR_ANSWERS,
        LOCKED_MODULE,
        SEED,
    ],
    ids=[
        "always-equal",
        "array-subclass",
        "patched-libraries",
        "patched-protocol",
        "shell-hooks",
        "search-for-answers",
        "locked-module",
        "seed",
    ],
)
def test_cheats_earn_nothing(cell):
    result = grade(double=cell)["double"]
    assert result.points == 0 and result.verdict in (Verdict.WA, Verdict.RE), result


@pytest.mark.parametrize(
    ("cell", "verdict"),
    [
        ("while True:\n    pass", Verdict.TLE),
        ("import os\nos._exit(0)", Verdict.RE),
        ("import ctypes\nctypes.string_at(0)", Verdict.RE),
        ("raise SystemExit", Verdict.RE),
        ("def double(x):\n    while True:\n        pass", Verdict.TLE),
        ("def double(x):\n    import os\n    os._exit(0)", Verdict.RE),
        ("def double(x):\n    raise KeyboardInterrupt", Verdict.RE),
        ("def double(x):\n    return double(x)", Verdict.RE),
        ("def double(x):\n    a = []\n    a.append(a)\n    return a", Verdict.RE),
        ("def double(x):\n    return lambda: 1", Verdict.WA),
        ("class E(BaseException):\n    def __str__(self):\n        1 / 0\n"
         "def double(x):\n    raise E", Verdict.RE),
        ("def double(:", Verdict.RE),
        ("double = input()", Verdict.RE),
        ("def double(x):\n    input()", Verdict.RE),
    ],
)  # fmt: skip
def test_what_breaks_costs_its_own_points_only(cell, verdict):
    results = grade(double=cell)
    assert results["double"].verdict is verdict, results["double"]
    assert points(results) == 3, results


def test_a_hostile_process_cannot_flood_the_referee_with_callbacks():
    cell = "def apply(f, x):\n    while True:\n        f(x)"
    results = grade(apply=cell)
    assert results["apply"].verdict is Verdict.TLE and points(results) == 3


def test_forged_frames_are_nonsense_not_a_crash():
    cell = (
        "import os, sys\n"
        "def double(x):\n"
        "    for fd in range(3, 20):\n"
        "        try:\n"
        "            os.write(fd, b'\\x00\\x00\\x00\\x05junk!')\n"
        "        except OSError:\n"
        "            pass\n"
        "    return 2 * x\n"
    )
    results = grade(double=cell)
    assert results["double"].points == 0
    assert results["counter"].points == 1


@pytest.mark.parametrize(
    "cell",
    [
        "import warnings\nwarnings.warn('odd but fine')\ndef double(x):\n    return x + x",
        "%matplotlib inline\ndef double(x):\n    return x * 2",
        "!true\ndef double(x):\n    print('working')\n    return np.multiply(x, 2)",
        "def double(x):\n    return [float(2 * v) for v in x]",
        "double = lambda x: x + x",
        "import asyncio\nawait asyncio.sleep(0)\ndef double(x):\n    return x + x",
    ],
    ids=["warning", "magic", "shell", "list", "lambda", "await"],
)
def test_honest_but_odd_submissions_lose_nothing(cell):
    assert points(grade(double=cell)) == 4


def test_the_message_of_a_wrong_name_says_so():
    result = grade(double="def dubble(x):\n    return 2 * x")["double"]
    assert result.verdict is Verdict.RE and "'double' does not exist" in result.message


def test_results_do_not_depend_on_the_run():
    assert grade() == grade()


def test_the_manifest_survives_json():
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    assert len(MANIFEST.digest) == 64


def test_a_line_over_threads_works_too():
    """What Windows uses, where pipes cannot be watched."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    cells = list(ANSWERS.items())
    results = grade_cells(MANIFEST, cells, lambda: LocalLine(environment, threads=True), seed=5)
    assert sum(result.points for result in results) == 4
    slow = dict(ANSWERS) | {"double": "def double(x):\n    while True: pass"}
    results = grade_cells(
        MANIFEST, list(slow.items()), lambda: LocalLine(environment, threads=True), seed=5
    )
    assert [r.verdict for r in results] == [Verdict.TLE, *[Verdict.AC] * 3]


def test_a_deaf_process_does_not_block_the_referee():
    """It never reads again; a large argument must run into the time limit, not hang."""
    cell = "import time\ndef apply(f, x):\n    f(x)\n    time.sleep(60)"
    manifest = MANIFEST.__class__(
        **{
            **MANIFEST.__dict__,
            "checks": [Check("c", "apply", 1.0, "apply(lambda v: 'x' * 30_000_000, 3)", "")],
        }
    )
    results = grade_cells(manifest, [("apply", cell)], start, seed=1)
    assert results[0].verdict is Verdict.TLE


MODULE_PRELUDE = """
import torch
from torch import nn

GRADING_SEED = 1


def gradients_of(model, inputs):
    '''Runs on the student's side; plain tensors come back.'''
    model(inputs).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}
"""
MODULE_CHECK = """
model = Net(3)
x = torch.ones(2, 3)
assert model(x).shape == (2, 1), "a call returns a tensor"
sizes = [tuple(p.shape) for p in model.parameters()]
assert sizes == [(1, 3), (1,)], "parameters can be listed"
state = model.state_dict()
assert list(state) == ["layer.weight", "layer.bias"], "a state_dict comes out"
model.load_state_dict({"layer.weight": torch.ones(1, 3), "layer.bias": torch.zeros(1)})
assert torch.equal(model(x), torch.full((2, 1), 3.0)), "and goes in"
grads = gradients_of(model, x)
assert torch.equal(grads["layer.weight"], torch.full((1, 3), 2.0)), "gradients by a prelude helper"
assert model.layer.in_features == 3, "attributes of attributes"
model.scale = 2.0
assert model.scale == 2.0, "attributes can be set"
"""
MODULE_ANSWER = """
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layer = nn.Linear(n, 1)

    def forward(self, x):
        return self.layer(x)
"""


def test_a_module_stays_on_its_side_and_works_as_a_handle():
    check = Check("net-check-1", "net", 1.0, MODULE_CHECK, MODULE_CHECK)
    manifest = Manifest(
        stage="98_modules",
        prelude=[MODULE_PRELUDE],
        cells=[StudentCell("net", "raise NotImplementedError", "net")],
        exports={"net": ["Net"]},
        checks=[check],
        manual=[],
        blocked_modules=[],
        demo_cells=[],
    )
    [result] = grade_cells(manifest, [("net", MODULE_ANSWER)], start, seed=1)
    assert result.verdict is Verdict.AC, result
    wrong = MODULE_ANSWER.replace("return self.layer(x)", "return self.layer(x) + 1")
    [result] = grade_cells(manifest, [("net", wrong)], start, seed=1)
    assert (result.verdict, result.message) == (Verdict.WA, "and goes in")


def test_a_prelude_of_another_stage_does_not_change_the_random_weights_of_this_one():
    """One process may judge several stages: float64 as default would draw other numbers."""
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)  # what the other stage's prelude left behind
    source = "assert start(2).tolist() == weights(2).tolist(), 'other random numbers'"
    prelude = (
        "import torch\nGRADING_SEED = 1\n\n\ndef weights(n):\n    torch.manual_seed(0)\n"
        "    return torch.nn.Linear(n, n).weight.detach()"
    )
    manifest = Manifest(
        stage="97_weights",
        prelude=[prelude],
        cells=[StudentCell("start", "raise NotImplementedError", "start")],
        exports={"start": ["start"]},
        checks=[Check("start-check-1", "start", 1.0, source, source)],
        manual=[],
        blocked_modules=[],
        demo_cells=[],
    )
    answer = "import torch\n\n\ndef start(n):\n    return weights(n)"
    [result] = grade_cells(manifest, [("start", answer)], start, seed=1)
    assert result.verdict is Verdict.AC, result
