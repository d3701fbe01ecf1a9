"""Names that code needs and names that it leaves behind, as Python itself sees them."""

from __future__ import annotations

import builtins

import pytest

from autograder.authoring.scopes import defined, dotted, free, imports, without_magics

CASES = [  # code, names it leaves behind, names it needs
    ("x = y", {"x"}, {"y"}),
    ("x += 1", {"x"}, set()),
    ("import os.path as p, json", {"p", "json"}, set()),
    ("from m import a as b", {"b"}, set()),
    ("def f(a, k=z):\n    t = a + g\n    return t", {"f"}, {"z", "g"}),
    ("def f():\n    def g():\n        return h\n    return g", {"f"}, {"h"}),
    ("def f():\n    global n\n    n = 1", {"f", "n"}, set()),
    ("class C(B):\n    a = q\n    def m(self):\n        return a", {"C"}, {"B", "q", "a"}),
    ("[i + j for i in s]", set(), {"j", "s"}),
    ("[[a * b for a in row] for row in rows]", set(), {"b", "rows"}),
    ("{k: v for k, v in d.items() if k != w}", set(), {"d", "w"}),
    ("any((last := n) > 3 for n in numbers)", {"last"}, {"numbers"}),
    ("lambda u: u + v", set(), {"v"}),
    ("for i, (a, *b) in enumerate(s):\n    pass", {"i", "a", "b"}, {"s"}),
    ("with c() as (a, b):\n    pass", {"a", "b"}, {"c"}),
    ("try:\n    t()\nexcept ValueError as error:\n    pass", {"error"}, {"t"}),
    ("f'{x!r:>{width}}'", set(), {"x", "width"}),
    ("match p:\n    case [q, *r]:\n        pass", {"q", "r"}, {"p"}),
    ("a.b.c = d[e]", set(), {"a", "d", "e"}),
    ("print(len([]), ValueError)", set(), set()),
]


@pytest.mark.parametrize("code, left, needed", CASES)
def test_names(code: str, left: set[str], needed: set[str]) -> None:
    assert defined(code) == left
    assert free(code) == needed


@pytest.mark.parametrize("code, left, needed", CASES)
def test_python_agrees_on_what_is_needed(code: str, left: set[str], needed: set[str]) -> None:
    """Compiled code asks for exactly these globals, and no others."""
    asked: set[str] = set()

    def walk(compiled) -> None:
        import dis

        for instruction in dis.get_instructions(compiled):
            if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                asked.add(instruction.argval)
        for constant in compiled.co_consts:
            if hasattr(constant, "co_code"):
                walk(constant)

    walk(compile(code, "<case>", "exec"))
    assert needed == asked - left - set(dir(builtins)) - {"__name__"}


def test_magics_are_left_out_and_lines_stay() -> None:
    assert without_magics("%matplotlib inline\n!ls\nx = 1 % 2") == "\n\nx = 1 % 2"


def test_imports_and_dotted_names() -> None:
    import ast

    tree = ast.parse("import a.b\nimport c as d\nfrom e.f import g as h\n")
    assert [(name, module) for name, module, _ in imports(tree)] == [
        ("a", "a.b"),
        ("d", "c"),
        ("h", "e.f.g"),
    ]
    assert dotted(ast.parse("np.random.rand", mode="eval").body) == "np.random.rand"
    assert dotted(ast.parse("f().x", mode="eval").body) == ""
