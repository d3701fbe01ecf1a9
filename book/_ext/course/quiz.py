"""The ``quiz`` directive: a question bank as HTML that works without a kernel or a network.

Does: render ``book/quizzes/NAME.yml`` as native form controls, with prompts, options and feedback
parsed as Markdown in the page (math and links work); put the key of each question beside it for
``quiz.js``; leave a readable page where there is no JavaScript (answers in ``<details>``).
Does not: judge answers (``quiz.js`` does, in the reader's browser), store or send anything.

Options, right-hand sides and steps are shuffled by a generator that is seeded with the question's
id: the same order in every build, whatever order the bank has.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from autograder.authoring.quizzes import (
    PAGE_BANKS,
    Bank,
    Choice,
    Fill,
    Matching,
    Numeric,
    Ordering,
    Question,
    QuizError,
    load,
)
from course.elements import element, h

PLACEHOLDER = re.compile(r"\{\{(\d+)\}\}")
KINDS = {
    "single": "Choose one answer",
    "multiple": "Choose every answer that is right",
    "numeric": "Give a number",
    "fill": "Fill in the gaps",
    "matching": "Match each item with one choice",
    "ordering": "Put the steps in order",
}


def shuffled(n: int, seed: str, keep: bool = True) -> list[int]:
    """The numbers below ``n`` in an order that depends on ``seed`` only.

    With ``keep=False`` the order is never the sorted one (which would be the answer).
    """
    order = list(range(n))
    generator = random.Random(hashlib.sha256(seed.encode()).hexdigest())
    generator.shuffle(order)
    if not keep and n > 1 and order == sorted(order):
        order = order[1:] + order[:1]
    return order


def letter(i: int) -> str:
    return chr(ord("A") + i) if i < 26 else f"A{letter(i - 26)}"


def slug(question_id: str) -> str:
    """The question's id as part of an HTML id."""
    return re.sub(r"[^a-z0-9]+", "-", question_id.lower())


def version_of(question: Question, key: str) -> str:
    """Changes when a kept answer could mean something else: other options, another key."""
    if isinstance(question, Choice):
        key += "".join(option.text for option in question.options)
    if isinstance(question, Ordering):
        key += "".join(question.items)
    return hashlib.sha256(f"{question.type} {key}".encode()).hexdigest()[:8]


def number(value: float) -> str:
    """A number as a reader writes it: ``0.16``, ``39``."""
    return f"{value:.10g}"


@dataclass
class Parts:
    """What a question type contributes to its question.

    ``controls`` come below the prompt; ``key`` is what ``quiz.js`` needs to judge; ``notes`` are
    feedback texts by name; ``solution`` is shown where there is no JavaScript.
    """

    controls: list[nodes.Node]
    key: dict[str, Any]
    notes: dict[str, nodes.Node] = field(default_factory=dict)
    solution: list[nodes.Node] = field(default_factory=list)


class Blank(SphinxRole):
    """``{quiz-blank}`N```: a text field inside a prompt. Written by ``Quiz`` only."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        where = self.env.temp_data.get("course_quiz_question", "")
        return [
            h(
                "input",
                {
                    "type": "text",
                    "class": "quiz-blank",
                    "name": f"{where}-blank-{self.text}",
                    "aria-label": f"Gap {self.text}",
                    "autocomplete": "off",
                    "autocapitalize": "off",
                    "spellcheck": "false",
                    "size": "8",
                },
            )
        ], []


class Quiz(SphinxDirective):
    """``{quiz} NN_slug`` renders the bank ``NN_slug.yml`` in the folder ``quizzes``."""

    required_arguments = 1
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0].strip()
        path = Path(self.env.srcdir, "book", "quizzes", f"{name}.yml")
        if not path.is_file():
            raise self.error(f"quiz: no bank {name!r}: book/quizzes/{name}.yml is missing")
        self.env.note_dependency(str(path))
        try:
            bank = load(path)
        except QuizError as error:
            raise self.error(f"quiz: {error}") from error
        return [self.bank(name, bank)]

    # --- Markdown ------------------------------------------------------------------------------
    def block(self, text: str) -> list[nodes.Node]:
        """Markdown as nodes of the page."""
        holder = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), str(self.env.docname)), 0, holder)
        return list(holder.children)

    def inline(self, text: str) -> list[nodes.Node]:
        """Markdown of one paragraph without the paragraph."""
        found = self.block(text)
        if len(found) == 1 and isinstance(found[0], nodes.paragraph):
            return list(found[0].children)
        return found

    # --- the quiz ------------------------------------------------------------------------------
    def bank(self, name: str, bank: Bank) -> element:
        count = len(bank.questions)
        return h(
            "div",
            {"class": "quiz", "data-quiz": name},
            self.bar(name, bank),
            h(
                "p",
                {"class": "quiz-noscript"},
                "Without JavaScript this page does not check answers. "
                "Each question has its answer below it, folded away.",
            ),
            [self.question(name, q, i + 1, count) for i, q in enumerate(bank.questions)],
            self.finish(),
        )

    def bar(self, name: str, bank: Bank) -> element:
        """Mode, progress and the button that forgets; hidden until ``quiz.js`` runs."""

        def mode(value: str, label: str, text: str) -> element:
            return h(
                "label",
                {"class": "quiz-mode"},
                h("input", {"type": "radio", "name": f"{name}-mode", "value": value}),
                h("span", {}, h("strong", {}, label), f" {text}"),
            )

        modes = h(
            "fieldset",
            {"class": "quiz-modes"},
            h("legend", {}, "How do you take this quiz?"),
            mode("pre", "Pre-test:", "before the stage; feedback comes at the end"),
            mode("post", "Post-test:", "after the stage; feedback comes at once"),
        )
        return h(
            "div",
            {"class": "quiz-bar", "hidden": True},
            [modes] if bank.stage not in PAGE_BANKS else [],
            h(
                "div",
                {"class": "quiz-progress"},
                h(
                    "progress",
                    {"max": len(bank.questions), "value": 0, "aria-label": "Questions answered"},
                ),
                h("p", {"class": "quiz-score", "role": "status"}),
            ),
            h(
                "p",
                {"class": "quiz-storage"},
                h("span", {"class": "quiz-storage-note"}, "Your answers stay in this browser. "),
                h("button", {"type": "button", "class": "quiz-forget"}, "Forget my answers"),
            ),
        )

    def finish(self) -> element:
        return h(
            "div",
            {"class": "quiz-finish", "hidden": True},
            h("button", {"type": "button", "class": "quiz-finish-button"}, "Finish the pre-test"),
            h("p", {"class": "quiz-finish-note", "role": "status", "tabindex": "-1"}),
        )

    def question(self, name: str, question: Question, position: int, count: int) -> element:
        where = f"{name}-{slug(question.id)}"
        self.env.temp_data["course_quiz_question"] = where
        prompt_text = question.prompt
        if isinstance(question, Fill):
            prompt_text = PLACEHOLDER.sub(r"{quiz-blank}`\1`", prompt_text)
        parts = RENDERERS[type(question)](self, question, where)
        explanation = self.block(question.explanation)
        notes = [h("div", {"data-note": key}, note) for key, note in parts.notes.items()]
        key = json.dumps(parts.key, ensure_ascii=False)
        facts = [question.id, question.objective, *question.source]
        return h(
            "form",
            {
                "class": f"quiz-question quiz-{question.type}",
                "id": where,
                "data-question": question.id,
                "data-type": question.type,
                "data-key": key,
                "data-version": version_of(question, key),
                "novalidate": True,
                "autocomplete": "off",
            },
            h(
                "fieldset",
                {"aria-describedby": f"{where}-prompt"},
                h(
                    "legend",
                    {},
                    h("span", {"class": "quiz-number"}, f"Question {position} of {count}"),
                    h("span", {"class": "quiz-kind"}, KINDS[question.type]),
                ),
                h(
                    "div",
                    {"class": "quiz-prompt", "id": f"{where}-prompt"},
                    self.block(prompt_text),
                ),
                parts.controls,
            ),
            h(
                "p",
                {"class": "quiz-actions", "hidden": True},
                h("button", {"type": "submit", "class": "quiz-check"}, "Check"),
            ),
            h("div", {"class": "quiz-result", "role": "status"}),
            h(
                "details",
                {"class": "quiz-solution"},
                h("summary", {}, "Answer and explanation"),
                parts.solution,
                h("div", {"class": "quiz-notes"}, notes),
                h("div", {"data-note": "explanation"}, explanation),
            ),
            h("p", {"class": "quiz-facts"}, " · ".join(fact for fact in facts if fact)),
        )

    # --- one renderer per type -------------------------------------------------------------------
    def choice(self, question: Choice, where: str) -> Parts:
        kind = "radio" if question.type == "single" else "checkbox"
        order = shuffled(len(question.options), question.id)
        rows = [
            h(
                "li",
                {},
                h(
                    "label",
                    {"class": "quiz-option", "data-option": i},
                    h("input", {"type": kind, "name": f"{where}-option", "value": i}),
                    h("span", {"class": "quiz-letter"}, letter(k)),
                    h("span", {"class": "quiz-option-text"}, self.inline(question.options[i].text)),
                    h("span", {"class": "quiz-mark"}),
                ),
            )
            for k, i in enumerate(order)
        ]
        notes = {
            f"option-{i}": h("div", {}, self.block(option.feedback))
            for i, option in enumerate(question.options)
        }
        right = [i for i in order if question.options[i].correct]
        solution = [
            h("p", {}, h("strong", {}, "Right: "), self.inline(question.options[i].text))
            for i in right
        ]
        return Parts(
            [h("ul", {"class": "quiz-options"}, rows)], {"right": sorted(right)}, notes, solution
        )

    def numeric(self, question: Numeric, where: str) -> Parts:
        label = [
            h("label", {"for": f"{where}-number"}, "Your number"),
            h(
                "input",
                {
                    "type": "text",
                    "inputmode": "text" if question.answer < 0 else "decimal",
                    "id": f"{where}-number",
                    "name": f"{where}-number",
                    "class": "quiz-numeric-input",
                    "autocomplete": "off",
                },
            ),
        ]
        if question.unit:
            label.append(h("span", {"class": "quiz-unit"}, self.inline(question.unit)))
        notes = {"other": h("div", {}, self.block(question.feedback))}
        for i, near in enumerate(question.near):
            notes[f"near-{i}"] = h("div", {}, self.block(near.feedback))
        key = {
            "answer": question.answer,
            "tolerance": question.tolerance,
            "near": [{"value": n.value, "tolerance": n.tolerance} for n in question.near],
        }
        answer = number(question.answer) + (f" {question.unit}" if question.unit else "")
        solution = [h("p", {}, h("strong", {}, "Right: "), self.inline(answer))]
        return Parts([h("p", {"class": "quiz-number-row"}, label)], key, notes, solution)

    def fill(self, question: Fill, where: str) -> Parts:
        notes = {
            f"blank-{i}": h("div", {}, self.block(blank.feedback))
            for i, blank in enumerate(question.blanks)
        }
        right = "; ".join(f"gap {i + 1}: {b.accept[0]}" for i, b in enumerate(question.blanks))
        return Parts(
            [],
            {"blanks": [blank.accept for blank in question.blanks]},
            notes,
            [h("p", {}, h("strong", {}, "Right: "), right)],
        )

    def matching(self, question: Matching, where: str) -> Parts:
        texts = [pair.right for pair in question.pairs] + question.distractors
        order = shuffled(len(texts), question.id, keep=False)  # order[k]: what choice k shows
        place = {text: k for k, text in enumerate(order)}
        choices = h(
            "ul",
            {"class": "quiz-choices", "id": f"{where}-choices", "aria-label": "Choices"},
            [
                h(
                    "li",
                    {},
                    h("span", {"class": "quiz-letter"}, letter(k)),
                    h("span", {}, self.inline(texts[i])),
                )
                for k, i in enumerate(order)
            ],
        )
        rows = []
        for i, pair in enumerate(question.pairs):
            options = [h("option", {"value": ""}, "choose …")] + [
                h("option", {"value": k}, f"{letter(k)}{plain(texts[j])}")
                for k, j in enumerate(order)
            ]
            rows.append(
                h(
                    "li",
                    {"class": "quiz-pair"},
                    h(
                        "label",
                        {"for": f"{where}-pair-{i}", "class": "quiz-left"},
                        h("span", {"class": "visually-hidden"}, f"Item {i + 1}: "),
                        h("span", {"class": "quiz-left-text"}, self.inline(pair.left)),
                    ),
                    h(
                        "select",
                        {"id": f"{where}-pair-{i}", "name": f"{where}-pair-{i}"},
                        options,
                    ),
                    h("span", {"class": "quiz-mark"}),
                )
            )
        notes = {
            f"pair-{i}": h("div", {}, self.block(pair.feedback))
            for i, pair in enumerate(question.pairs)
        }
        solution = [
            h(
                "ul",
                {},
                [
                    h("li", {}, self.inline(pair.left), " goes with ", self.inline(pair.right))
                    for pair in question.pairs
                ],
            )
        ]
        return Parts(
            [choices, h("ul", {"class": "quiz-pairs"}, rows)],
            {"pairs": [place[i] for i in range(len(question.pairs))]},
            notes,
            solution,
        )

    def ordering(self, question: Ordering, where: str) -> Parts:
        order = shuffled(len(question.items), question.id, keep=False)

        def button(direction: str, sign: str, i: int) -> element:
            return h(
                "button",
                {
                    "type": "button",
                    "class": "quiz-move",
                    "data-move": direction,
                    "aria-label": f"Move {direction}",
                    "aria-describedby": f"{where}-item-{i}",
                    "hidden": True,
                },
                sign,
            )

        rows = [
            h(
                "li",
                {"class": "quiz-step", "data-item": i},
                h("span", {"class": "quiz-moves"}, button("up", "↑", i), button("down", "↓", i)),
                h(
                    "span",
                    {"class": "quiz-step-text", "id": f"{where}-item-{i}"},
                    self.inline(question.items[i]),
                ),
                h("span", {"class": "quiz-mark"}),
            )
            for i in order
        ]
        live = h("p", {"class": "quiz-live visually-hidden", "role": "status"})
        solution = [h("ol", {}, [h("li", {}, self.inline(item)) for item in question.items])]
        return Parts(
            [h("ol", {"class": "quiz-steps"}, rows), live],
            {"start": order},
            {"order": h("div", {}, self.block(question.feedback))},
            solution,
        )


RENDERERS = {
    Choice: Quiz.choice,
    Numeric: Quiz.numeric,
    Fill: Quiz.fill,
    Matching: Quiz.matching,
    Ordering: Quiz.ordering,
}


def plain(text: str) -> str:
    """A choice's text for a menu, which shows no markup; nothing where it holds a formula."""
    if "$" in text or "\\" in text or "](" in text:
        return ""
    return ": " + re.sub(r"[`*_]{1,2}", "", text).strip()


def add_script(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """``html-page-context``: the script on pages with a quiz, and nowhere else."""
    if doctree is not None and any(
        "data-quiz" in node["html"] for node in doctree.findall(element)
    ):
        app.add_js_file("quiz.js", loading_method="defer")


def setup(app: Sphinx) -> None:
    app.add_directive("quiz", Quiz)
    app.add_role("quiz-blank", Blank())
    app.connect("html-page-context", add_script)
