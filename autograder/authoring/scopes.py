"""Which names a piece of code defines and which it needs from outside.

Does: answer both questions with the compiler's own symbol tables, so that nested functions,
comprehensions, classes, ``global`` and walrus assignments are treated as Python treats them.
Does not: follow the flow of control (a name defined anywhere at the top level counts as defined).
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator

BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}


def without_magics(source: str) -> str:
    """``source`` with lines of IPython magics and shell commands left empty."""
    return "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n")
    )


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def defined(source: str) -> set[str]:
    """The names that running ``source`` leaves behind at the top level."""
    found: set[str] = set()
    top = symtable.symtable(source, "<cell>", "exec")
    for table in _tables(top):
        for symbol in table.get_symbols():
            if _binds(symbol) and (table is top or symbol.is_global()):
                found.add(symbol.get_name())
    return found


def free(source: str) -> set[str]:
    """The names that ``source`` uses and does not define itself, builtins left out."""
    own = defined(source)
    used: set[str] = set()
    top = symtable.symtable(source, "<cell>", "exec")
    for table in _tables(top):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                used.add(symbol.get_name())
    return used - own - BUILTINS


def imports(tree: ast.AST) -> Iterator[tuple[str, str, ast.stmt]]:
    """``(name it is bound to, dotted module or member, statement)`` for every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                yield bound, alias.name, node
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}", node


def dotted(node: ast.AST) -> str:
    """``np.random.rand`` of an attribute chain that starts at a name, else the empty text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
