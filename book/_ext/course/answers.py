"""Pages of reference answers, made from ``solutions/`` for people who learn on their own.

Does: one page per stage, ``answers/NN_slug.html``, with the code of every answer cell and the full
sample answer of every manual question; search engines are asked not to index it.
Does not: write anything when ``xor2gpt_reference_answers`` is off (graded classes), or put the
answers into the book's own search index.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from sphinx.application import Sphinx

from autograder.authoring.stage import BEGIN_MARKS, END_MARKS, Exercise, Stage, StageError
from course.stages import stage_of

FOLDER = "answers/"
HEADING = re.compile(r"^#{2,6}\s+(.+)$", re.MULTILINE)
GRADE = re.compile(r"^\*\*(Full|Half|Zero)\b[^*]*\*\*\s*", re.MULTILINE)


def render_math(text: str, options: dict[str, Any]) -> str:
    """MathJax's own delimiters, as everywhere else in the book."""
    text = html.escape(text)
    if options.get("display_mode"):
        return f'<div class="math notranslate nohighlight">\\[{text}\\]</div>'
    return f'<span class="math notranslate nohighlight">\\({text}\\)</span>'


def markdown() -> MarkdownIt:
    return (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .use(dollarmath_plugin, renderer=render_math, double_inline=True)
    )


def title_of(exercise: Exercise) -> str:
    """The heading of the exercise's task, without Markdown signs."""
    cell = exercise.task or exercise.manual
    match = HEADING.search(cell.source) if cell else None
    return match[1].strip() if match else exercise.name


def mark_scheme(text: str, where: str) -> str:
    """The lines between nbgrader's mark-scheme markers. Raises ``StageError`` without them."""
    lines = text.split("\n")
    stripped = [line.strip() for line in lines]
    if BEGIN_MARKS not in stripped or END_MARKS not in stripped:
        raise StageError(f"{where}: no mark scheme between '{BEGIN_MARKS}' and '{END_MARKS}'")
    return "\n".join(lines[stripped.index(BEGIN_MARKS) + 1 : stripped.index(END_MARKS)]).strip()


def full_answer(scheme: str) -> str:
    """The sample that earns full points; the whole scheme where none is marked ``**Full``."""
    parts = list(GRADE.finditer(scheme))
    for i, match in enumerate(parts):
        if match[1] == "Full":
            end = parts[i + 1].start() if i + 1 < len(parts) else len(scheme)
            return scheme[match.end() : end].strip()
    return scheme


def section(app: Sphinx, stage: Stage, exercise: Exercise, page: str) -> str:
    """The HTML of one exercise."""
    back = app.builder.get_relative_uri(page, f"notebooks/{stage.name}/{stage.name}")
    title = html.escape(title_of(exercise))
    name = html.escape(exercise.name)
    if exercise.answer is not None:
        code = exercise.answer.reference.strip("\n")
        body = (
            '<div class="highlight-python notranslate">'
            f"{app.builder.highlighter.highlight_block(code, 'python')}</div>"
        )
    elif exercise.manual is not None:
        scheme = mark_scheme(exercise.manual.source, exercise.manual.where)
        body = f'<div class="sample-answer">{markdown().render(full_answer(scheme))}</div>'
    else:
        raise StageError(
            f"{stage.path.name}: exercise '{exercise.name}' has neither answer nor mark scheme"
        )
    return (
        f'<section id="{name}"><h2>{title}'
        f'<a class="headerlink" href="#{name}" title="Link to this heading">#</a></h2>'
        f"{body}"
        f'<p class="back-to-exercise"><a href="{back}#exercise-{name}">Back to the exercise</a></p>'
        "</section>"
    )


def toc(exercises: list[Exercise]) -> str:
    """The page's own contents, as the theme expects them."""
    items = "".join(
        f'<li class="toc-h2 nav-item toc-entry"><a class="reference internal nav-link" '
        f'href="#{html.escape(e.name)}">{html.escape(title_of(e))}</a></li>'
        for e in exercises
    )
    return f'<ul class="nav section-nav flex-column">{items}</ul>'


def collect(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """``html-collect-pages``: one page per stage of the book that has a reference notebook."""
    if not app.config.xor2gpt_reference_answers:
        return
    for docname in sorted(app.env.found_docs):
        slug = stage_of(docname)
        path = Path(app.srcdir, "solutions", slug or "", f"{slug}.ipynb")
        if slug is None or not path.is_file():
            continue
        stage, page = Stage.read(path), FOLDER + slug
        exercises = list(stage.exercises.values())
        parts = [section(app, stage, exercise, page) for exercise in exercises]
        title = f"Reference answers: {app.env.titles[docname].astext()}"
        back = app.builder.get_relative_uri(page, docname)
        app.env.get_domain("math").data["has_equations"][page] = True
        yield (
            page,
            {
                "title": title,
                "metatags": '<meta name="robots" content="noindex" />',
                "sourcename": "",
                "body": f"<h1>{html.escape(title)}</h1>"
                '<p class="lead">One right answer for each exercise; other answers can be right '
                "too. You learn most when you look after your own answer passes its check, or "
                "after the third hint.</p>"
                f'<p><a href="{back}">Back to the stage</a></p>{"".join(parts)}',
                "toc": toc(exercises),
                "display_toc": True,
            },
            "page.html",
        )


def forget_removed(app: Sphinx, exception: Exception | None) -> None:
    """``build-finished``: answer pages of an earlier build go when the setting is off."""
    folder = Path(app.outdir, FOLDER)
    if exception is None and app.builder.format == "html" and folder.is_dir():
        keep = {stage_of(docname) for docname in app.env.found_docs}
        for page in folder.glob("*.html"):
            if not app.config.xor2gpt_reference_answers or page.stem not in keep:
                page.unlink()


def setup(app: Sphinx) -> None:
    app.connect("html-collect-pages", collect)
    app.connect("build-finished", forget_removed)
