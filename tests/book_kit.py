"""What the book's tests share: one build of the real book, small books to break, HTML readers.

Does: build the real book once for all test processes (into ``_build``, like ``make book``), write
small books that use the real extension and theme, and find what a page would request.
Does not: assert anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import yaml
from bs4 import BeautifulSoup, Tag
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder.authoring import book

ROOT = Path(__file__).resolve().parents[1]
STAGE = "01_lines"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4"
    "2mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@cache
def built_book() -> Path:
    """The folder of the real book's HTML, built when it is not fresh."""
    return rebuilt_book()


def rebuilt_book() -> Path:
    """The same, but looks for changes again."""
    folder = ROOT / "_build"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "tests.lock"):
        return book.build(ROOT).parent


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def table_of_contents(root: Path = ROOT) -> list[str]:
    """Every page that ``_toc.yml`` names, in order, without a suffix."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


# --- what a page requests ------------------------------------------------------------------------
LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect"}
LOADING_LINKS |= {"dns-prefetch", "manifest", "apple-touch-icon", "shortcut"}
CSS_REQUEST = re.compile(r"""(?:@import\s+(?:url\(\s*)?|url\(\s*)["']?([^"')\s;]+)""")
JS_REQUEST = re.compile(
    r"""(?:\bimport\s*\(\s*|\bfrom\s*|\bimport\s+|\bfetch\s*\(\s*|\bsrc\s*[=:]\s*|importScripts\s*\(\s*|"""
    r"""URL\s*=\s*)["'`]((?:https?:)?//[^"'`]+)"""
)


def is_foreign(address: str) -> bool:
    """Whether a browser would leave this host for it."""
    return urlsplit(address.strip()).netloc != ""


def requests_of_page(page: BeautifulSoup) -> Iterator[str]:
    """Every address that a browser loads by itself for a page."""
    for tag in page.find_all(True):
        names = ["src", "poster", "background"]
        if tag.name == "link" and LOADING_LINKS & set(tag.get("rel", [])):
            names.append("href")
        if tag.name in ("use", "image", "base"):
            names += ["href", "xlink:href"]
        if tag.name == "object":
            names.append("data")
        if tag.name == "form":
            names.append("action")
        yield from (tag[name] for name in names if tag.get(name))
        if tag.get("srcset"):
            yield from (part.split()[0] for part in tag["srcset"].split(",") if part.strip())
        if tag.get("style"):
            yield from CSS_REQUEST.findall(tag["style"])
        if tag.name == "style":
            yield from CSS_REQUEST.findall(tag.get_text())
        if tag.name == "script":
            yield from JS_REQUEST.findall(tag.get_text())
        if tag.name == "meta" and str(tag.get("http-equiv", "")).lower() == "refresh":
            yield tag.get("content", "").partition("url=")[2]


def foreign_requests(folder: Path) -> list[str]:
    """``file: address`` for every foreign request of the pages, styles and scripts in a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".html":
            addresses = requests_of_page(soup(path))
        elif path.suffix == ".css":
            addresses = CSS_REQUEST.findall(path.read_text(encoding="utf-8"))
        elif path.suffix == ".js":
            addresses = JS_REQUEST.findall(path.read_text(encoding="utf-8"))
        else:
            continue
        found += [f"{path.relative_to(folder)}: {a}" for a in addresses if is_foreign(a)]
    return found


def dead_links(folder: Path) -> list[str]:
    """``page: link`` for every link of a page that leads to no file or no anchor of the book."""
    pages = {path: soup(path) for path in sorted(folder.rglob("*.html"))}
    anchors = {
        path: {tag["id"] for tag in page.find_all(id=True)}
        | {tag["name"] for tag in page.find_all("a", attrs={"name": True})}
        for path, page in pages.items()
    }
    dead = []
    for path, page in pages.items():
        for link in page.find_all("a", href=True):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                dead.append(f"{path.relative_to(folder)}: {link['href']} (no such file)")
            elif parts.fragment and target in anchors and parts.fragment not in anchors[target]:
                dead.append(f"{path.relative_to(folder)}: {link['href']} (no such anchor)")
    return dead


def times(folder: Path) -> dict[str, int]:
    """When each page was written, in nanoseconds."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.html")
    }


# --- small books -------------------------------------------------------------------------------
PAGES = {
    "book/index.md": "# A small book\n\nSee [the stage](../notebooks/01_lines/01_lines.ipynb).\n\n"
    "Code such as `<|unk|> -1`, and `lines.of.a.module.with.a.very.long.name.and.more.parts`.\n",
    "book/glossary.md": "# Glossary\n\n(term-line)=\n**Line**. Straight, {cite:t}`euclid300`.\n",
    "book/bibliography.md": "# Bibliography\n\n```{bibliography}\n:all:\n```\n",
    "book/references.bib": (
        "@book{euclid300, author = {Euclid}, title = {Elements}, publisher = {Alexandria}, "
        "year = {1956}}\n"
    ),
    "book/results.md": "# Results\n\n```{course-results}\n```\n",
    "book/quizzes/01_lines.md": "# Quiz\n\n```{quiz} 01_lines\n```\n",
}

BANK: dict[str, Any] = {
    "stage": STAGE,
    "title": "Lines",
    "questions": [
        {
            "id": "q1.1", "type": "single", "objective": "O1.1", "source": ["lines.md 1"],
            "prompt": "What does $y = 2x + 1$ give at $x = 3$?",
            "explanation": "$2 \\cdot 3 + 1 = 7$. See [line](../glossary.md#term-line).",
            "options": [
                {"text": "$7$", "correct": True, "feedback": "Yes, seven."},
                {"text": "$6$", "correct": False, "feedback": "The offset is missing."},
                {"text": "`5`", "correct": False, "feedback": "Neither term is right."},
            ],
        },
        {
            "id": "q1.2", "type": "multiple", "objective": "O1.1", "source": ["lines.md 1"],
            "prompt": "Which are lines?", "explanation": "No squares.",
            "options": [
                {"text": "$y = x$", "correct": True, "feedback": "A slope of one."},
                {"text": "$y = 3$", "correct": True, "feedback": "A slope of zero."},
                {"text": "$y = x^2$", "correct": False, "feedback": "A parabola bends."},
            ],
        },
        {
            "id": "q1.3", "type": "numeric", "objective": "O1.2", "source": ["lines.md 2"],
            "prompt": "The mean squared error of the differences 1 and −2?",
            "explanation": "(1 + 4) / 2", "answer": 2.5, "tolerance": 0.001, "unit": "m²",
            "near": [{"value": 5, "tolerance": 0.001, "feedback": "That is the sum."}],
            "feedback": "Square, add, divide.",
        },
        {
            "id": "q1.4", "type": "fill", "objective": "O1.2", "source": ["lines.md 2"],
            "prompt": "The {{1}} is the steepness, the {{2}} the height at zero.",
            "explanation": "Two numbers make a line.",
            "blanks": [
                {"accept": ["slope", "gradient"], "feedback": "Rise over run."},
                {"accept": ["offset"], "feedback": "Where it meets the axis."},
            ],
        },
        {
            "id": "q1.5", "type": "matching", "objective": "O1.2", "source": ["lines.md 2"],
            "prompt": "Match.", "explanation": "Read the sign.",
            "pairs": [
                {"left": "rising", "right": "`2`", "feedback": "Positive."},
                {"left": "flat", "right": "`0`", "feedback": "Zero."},
                {"left": "falling", "right": "`-2`", "feedback": "Negative."},
            ],
            "distractors": ["`inf`"],
        },
        {
            "id": "q1.6", "type": "ordering", "objective": "O1.2", "source": ["lines.md 2"],
            "prompt": "Order the steps.", "explanation": "Inside out.",
            "items": ["Multiply", "Add", "Compare"], "feedback": "The product comes first.",
        },
    ],
}  # fmt: skip


def stage_notebooks() -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """The reference and the student edition of a tiny stage with every kind of cell."""
    answer = (
        "def double(x):\n    ### BEGIN SOLUTION\n"
        "    return 2 * x  # the answer\n    ### END SOLUTION"
    )
    marks = (
        "\n\n### BEGIN MARK SCHEME\n**Full (2 points).** Because $a + b = b + a$.\n\n"
        "**Zero (0 points).** No reason.\n### END MARK SCHEME"
    )

    def grader(name: str, **values: Any) -> dict[str, Any]:
        common = {"grade_id": name, "schema_version": 3, "locked": True, "task": False}
        return {**common, "grade": False, "solution": False, **values}

    def role(name: str, role: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "exercise": name, **more}

    def cells(reference: bool) -> list[nbformat.NotebookNode]:
        picture = new_output("display_data", data={"image/png": PIXEL})
        said = new_output("stream", name="stdout", text="four\n")
        question = "### Exercise 1.2 ★ Explain\n\nWhy?\n\n*5 minutes · 2 points · O1.2*"
        stub = "def double(x):\n    raise NotImplementedError"
        return [
            new_markdown_cell(
                "# Stage 1: lines\n\nSee [line](../../book/glossary.md#term-line), "
                "[Euclid, 300 BC](../../book/bibliography.md#euclid300) and "
                "[the quiz](../../book/quizzes/01_lines.md).\n\n"
                "| | |\n|---|---|\n| You build | it |",
                id="title",
            ),
            new_code_cell("print('four')", id="shown", outputs=[said], metadata={"tags": ["demo"]}),
            new_code_cell(
                "print('four')",
                id="secret",
                outputs=[said],
                metadata={"tags": ["demo", "hide-output"]},
            ),
            new_code_cell(
                "show()",
                id="drawn",
                outputs=[picture],
                metadata={"tags": ["photo"], "mystnb": {"image": {"alt": "one dot"}}},
            ),
            new_markdown_cell("## Doubling\n\nBefore.", id="lesson"),
            new_markdown_cell(
                "### Exercise 1.1 ★ Double\n\nWrite it.\n\n*5 minutes · 1 point · O1.1*\n\n"
                "<details><summary>Hint 1: where</summary>\n\nAbove, with $2x$.\n\n</details>",
                id="double-task",
                metadata={"xor2gpt": role("double", "task", stars=1, minutes=5)},
            ),
            new_code_cell(
                answer if reference else stub,
                id="double",
                metadata={
                    "nbgrader": grader("double", solution=True, locked=False),
                    "xor2gpt": role("double", "answer"),
                },
            ),
            new_code_cell(
                "assert double(2) == 4, 'twice'",
                id="double-check-1",
                metadata={
                    "nbgrader": grader("double-check-1", grade=True, points=1),
                    "xor2gpt": role("double", "check", objective="O1.1"),
                },
            ),
            new_markdown_cell("After the exercise.", id="afterwards"),
            new_markdown_cell(
                question + (marks if reference else ""),
                id="why",
                metadata={
                    "nbgrader": grader("why", task=True, points=2),
                    "xor2gpt": role("why", "manual", objective="O1.2", minutes=5),
                },
            ),
            new_markdown_cell(
                "*Write your answer here.*", id="why-answer", metadata={"tags": ["answer"]}
            ),
            new_markdown_cell("## What to remember\n\nLines.", id="remember"),
        ]

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return tuple(
        new_notebook(cells=cells(reference), metadata={**metadata, "xor2gpt": {"stage": STAGE}})
        for reference in (True, False)
    )


@dataclass
class SmallBook:
    """A book of six pages with the real extension, theme and settings."""

    root: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, text in PAGES.items():
            self.write(name, text)
        self.write_bank(BANK)
        reference, student = stage_notebooks()
        for folder, notebook in (("solutions", reference), ("notebooks", student)):
            path = self.root / folder / STAGE / f"{STAGE}.ipynb"
            path.parent.mkdir(parents=True)
            nbformat.write(notebook, path)
        for name in ("_ext", "theme", "vendor"):
            (self.root / "book" / name).symlink_to(ROOT / "book" / name)
        chapters = ["book/glossary", "book/bibliography", "book/results", "book/quizzes/01_lines"]
        chapters.append(f"notebooks/{STAGE}/{STAGE}")
        toc = {"format": "jb-book", "root": "book/index", "parts": [{"caption": "All"}]}
        toc["parts"][0]["chapters"] = [{"file": name} for name in chapters]
        self.write("_toc.yml", yaml.safe_dump(toc, sort_keys=False))
        self.configure()

    def configure(self, top: dict[str, Any] | None = None, **config: Any) -> None:
        """Write ``_config.yml``: the real one with other values."""
        settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
        settings.update(top or {})
        settings["sphinx"]["config"].update(config)
        self.write("_config.yml", yaml.safe_dump(settings, sort_keys=False))

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def write_bank(self, bank: dict[str, Any]) -> None:
        self.write(
            f"book/quizzes/{STAGE}.yml", yaml.safe_dump(bank, sort_keys=False, allow_unicode=True)
        )

    def build(self) -> Path:
        """The folder of the HTML."""
        return book.build(self.root).parent

    @property
    def html(self) -> Path:
        return self.root / "_build" / "html"

    def page(self, name: str) -> BeautifulSoup:
        return soup(self.html / f"{name}.html")

    @property
    def stage_page(self) -> BeautifulSoup:
        return self.page(f"notebooks/{STAGE}/{STAGE}")

    def edit_cell(self, cell_id: str, old: str, new: str, folder: str = "notebooks") -> None:
        """Replace text in a cell of the stage; it must be there."""
        path = self.root / folder / STAGE / f"{STAGE}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
        if old not in cell.source:
            raise ValueError(f"{old!r} is not in cell {cell_id}")
        cell.source = cell.source.replace(old, new)
        nbformat.write(notebook, path)


def files_outside_build(root: Path) -> set[str]:
    """Names of all files of a small book that no build should add to."""
    return {
        str(path.relative_to(root))
        for folder, _, names in os.walk(root)
        for path in (Path(folder, name) for name in names)
        if "_build" not in path.parts
    }


def text_of(tag: Tag | None) -> str:
    """The text of a tag, with single spaces; fails loudly where there is no tag."""
    if tag is None:
        raise LookupError("the page has no such element")
    return " ".join(tag.get_text(" ").split())
