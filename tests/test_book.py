"""The book as files: what is in the HTML, what it would request, what a rebuild does.

Does: build the real book once and small books for each setting and each mistake.
Does not: need a browser (see ``tests/browser``) or a network.
"""

from __future__ import annotations

import copy
import json
import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from book_kit import (
    BANK,
    ROOT,
    STAGE,
    SmallBook,
    built_book,
    dead_links,
    files_outside_build,
    foreign_requests,
    rebuilt_book,
    soup,
    table_of_contents,
    text_of,
    times,
)

from autograder.authoring import book
from autograder.authoring.quizzes import load
from autograder.authoring.stage import Stage, stage_names
from xor2gpt import results

SLUGS = [name for name in table_of_contents() if name.startswith("notebooks/")]
QUIZZES = sorted(path.stem for path in (ROOT / "book" / "quizzes").glob("*.yml"))


@pytest.fixture(scope="module")
def html() -> Path:
    """The real book."""
    return built_book()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallBook:
    """A small book as it comes. Read only."""
    made = SmallBook(tmp_path_factory.mktemp("small") / "course")
    made.before = files_outside_build(made.root)
    made.build()
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> SmallBook:
    """A small book, not built yet, for a test to change."""
    return SmallBook(tmp_path / "course")


# --- the real book -----------------------------------------------------------------------------
def test_every_page_of_the_table_of_contents_is_there(html: Path) -> None:
    for name in table_of_contents():
        page = soup(html / f"{name}.html")
        assert text_of(page.select_one("article h1")), f"{name} has no title"
    assert (html / "index.html").is_file()


def test_no_page_style_or_script_requests_another_host(html: Path) -> None:
    assert foreign_requests(html) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("b.html", '<link rel="stylesheet" href="//cdn.example/x.css">'),
        ("c.html", "<script>const U_URL = 'https://unpkg.example/x.js'</script>"),
        ("d.html", '<img srcset="a.png 1x, https://cdn.example/b.png 2x">'),
        ("e.css", "@import url(https://fonts.example/css);"),
        ("f.js", 'import("https://cdn.example/x.mjs")'),
        ("g.html", '<p style="background: url(https://cdn.example/x.png)"></p>'),
    ],
)
def test_the_search_for_foreign_requests_finds_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert len(foreign_requests(tmp_path)) == 1


def test_a_plain_link_to_another_host_is_no_request(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://example.org">there</a>')
    assert foreign_requests(tmp_path) == []


def test_no_link_of_the_book_is_dead(html: Path) -> None:
    assert dead_links(html) == []


def test_the_search_for_dead_links_finds_them(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#x">1</a><a href="c.html">2</a>')
    (tmp_path / "b.html").write_text('<p id="y"></p>')
    assert len(dead_links(tmp_path)) == 2


@pytest.mark.parametrize("name", SLUGS)
def test_a_stage_shows_every_exercise_in_a_frame(html: Path, name: str) -> None:
    slug = name.rsplit("/", 1)[-1]
    stage = Stage.load(ROOT, slug)
    page = soup(html / f"{name}.html")
    for exercise in stage.exercises.values():
        frame = page.find(id=f"exercise-{exercise.name}")
        assert frame is not None, f"no anchor for exercise {exercise.name}"
        frame = frame if "exercise" in frame.get("class", []) else frame.find_parent(
            class_="exercise"
        )  # fmt: skip
        assert frame is not None, f"exercise {exercise.name} has no frame"
        assert len(frame.select(".cell-check")) == len(exercise.checks)
        assert len(frame.select(".cell-answer")) == (exercise.answer is not None)
        assert frame.select_one(".reference-answer-link")["href"].endswith(f"#{exercise.name}")


@pytest.mark.parametrize("name", SLUGS)
def test_every_output_of_a_stage_is_labelled_and_every_picture_described(
    html: Path, name: str
) -> None:
    page = soup(html / f"{name}.html")
    outputs = page.select("div.cell_output")
    assert outputs, "the student edition has lost its outputs"
    for output in outputs:
        assert text_of(output.select_one(".output-label")) == "Reference output"
        for image in output.select("img"):
            assert len(image.get("alt", "")) > 20, f"no alt text: {image.get('src')}"


@pytest.mark.parametrize("name", SLUGS)
def test_a_stage_page_holds_no_answer_and_no_hidden_test(html: Path, name: str) -> None:
    slug = name.rsplit("/", 1)[-1]
    text = soup(html / f"{name}.html").get_text()
    source = (html / "_sources" / f"{name}.ipynb").read_text(encoding="utf-8")
    for mark in ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS", "BEGIN MARK SCHEME", "### STUB"):
        assert mark not in text and mark not in source, f"{slug} shows '{mark}'"


@pytest.mark.parametrize("name", SLUGS)
def test_the_download_is_the_student_edition(html: Path, name: str) -> None:
    page = soup(html / f"{name}.html")
    link = page.select_one(".stage-links a")
    assert text_of(link) == "Download this notebook"
    offered = (html / f"{name}.html").parent / link["href"]
    assert offered.read_bytes() == (ROOT / f"{name}.ipynb").read_bytes()


@pytest.mark.parametrize("slug", QUIZZES)
def test_every_bank_is_shown_whole(html: Path, slug: str) -> None:
    bank = load(ROOT / "book" / "quizzes" / f"{slug}.yml")
    pages = [soup(html / f"{name}.html") for name in table_of_contents()]
    (shown,) = [page for page in pages if page.select_one(f'[data-quiz="{slug}"]')]
    forms = shown.select("form.quiz-question")
    assert [form["data-question"] for form in forms] == [question.id for question in bank.questions]
    for form, question in zip(forms, bank.questions, strict=True):
        assert json.loads(form["data-key"])
        facts = text_of(form.select_one(".quiz-facts"))
        wanted = [question.id, question.objective, *question.source]
        assert facts == " · ".join(fact for fact in wanted if fact)
        assert text_of(form.select_one('[data-note="explanation"]'))


def test_the_results_page_shows_every_table_as_the_library_gives_it(html: Path) -> None:
    page = soup(html / "book" / "results.html")
    found = results.tables()
    assert found, "benchmarks/results/ is empty"
    tables = page.select("table.results-table")
    assert len(tables) == len(found)
    for table, wanted in zip(tables, found, strict=True):
        rows = [[text_of(cell) for cell in row.select("th, td")] for row in table.select("tr")]
        assert rows == [wanted.columns, *[list(row) for row in wanted.rows]]
        section = table.find_parent("section")
        for fact in (wanted.machine, wanted.versions, wanted.date):
            assert " ".join(fact.split()) in text_of(section.select_one(".provenance"))


def test_a_second_build_with_nothing_changed_writes_nothing_and_takes_seconds(html: Path) -> None:
    before, start = times(html), time.perf_counter()
    rebuilt_book()
    assert times(html) == before
    assert time.perf_counter() - start < 15


# --- a small book --------------------------------------------------------------------------------
def test_a_build_leaves_nothing_outside_its_folder(small: SmallBook) -> None:
    assert files_outside_build(small.root) == small.before


def test_the_frame_ends_where_the_exercise_ends(small: SmallBook) -> None:
    frame = small.stage_page.find(id="exercise-double").find_parent(class_="exercise") or (
        small.stage_page.find(id="exercise-double")
    )
    text = text_of(frame)
    assert "Exercise 1.1" in text and "raise NotImplementedError" in text
    assert "Hint 1: where" in text and "Check · 1 point" in text
    assert "After the exercise." not in text and "Exercise 1.2" not in text
    assert "After the exercise." in text_of(small.stage_page.article)


def test_a_manual_question_says_where_to_write(small: SmallBook) -> None:
    frame = small.stage_page.select_one(".exercise-manual")
    assert "Your answer (this cell of the notebook is where you write it)" in text_of(frame)
    assert "Write your answer here." in text_of(frame)


def test_a_hidden_output_is_folded_under_words_that_say_what_it_is(small: SmallBook) -> None:
    (folded,) = small.stage_page.select("details.course-hide")
    summary = folded.select_one("summary")
    assert text_of(summary.select_one(".collapsed")) == "Show what the reference prints"
    assert "aria-label" not in summary.attrs
    assert "Reference output" in text_of(folded) and "four" in text_of(folded)


def test_a_photograph_keeps_its_tag_for_the_dark_theme(small: SmallBook) -> None:
    image = small.stage_page.select_one(".cell_output img")
    assert image["alt"] == "one dot"
    assert "tag_photo" in image.find_parent(class_="cell")["class"]


def test_a_table_without_a_head_has_none(small: SmallBook) -> None:
    box = small.stage_page.select_one(".table-box")
    assert "You build" in text_of(box) and box.select_one("thead") is None


def test_only_code_with_a_long_word_is_marked_as_breakable(small: SmallBook) -> None:
    codes = small.page("book/index").select("article code")
    assert {code.get_text(): "long-code" in code["class"] for code in codes} == {
        "<|unk|> -1": False,
        "lines.of.a.module.with.a.very.long.name.and.more.parts": True,
    }


def test_links_from_a_notebook_reach_terms_and_sources(small: SmallBook) -> None:
    links = {text_of(a): a["href"] for a in small.stage_page.select("article a[href]")}
    assert links["line"] == "../../book/glossary.html#term-line"
    assert links["Euclid, 300 BC"] == "../../book/bibliography.html#euclid300"
    assert links["the quiz"] == "../../book/quizzes/01_lines.html"
    assert dead_links(small.html) == []


def test_the_bibliography_is_a_plain_list(small: SmallBook) -> None:
    entry = small.page("book/bibliography").find(id="euclid300")
    assert entry.name == "li" and entry.parent.name == "ul"
    assert text_of(entry).startswith("Euclid")


def test_results_say_so_when_there_are_none(small: SmallBook) -> None:
    assert "No results yet" in text_of(small.page("book/results").article)


def test_answer_pages_show_the_reference_and_ask_not_to_be_indexed(small: SmallBook) -> None:
    page = small.page(f"answers/{STAGE}")
    assert "return 2 * x # the answer" in text_of(page.find(id="double").select_one("pre"))
    why = text_of(page.find(id="why"))
    assert "Because \\(a + b = b + a\\)" in why and "No reason" not in why
    assert "BEGIN SOLUTION" not in page.get_text()
    assert page.select_one('meta[name="robots"]')["content"] == "noindex"
    assert page.select_one('script[src*="mathjax"]') is not None
    back = [a["href"] for a in page.select(".back-to-exercise a")]
    assert back[0] == f"../notebooks/{STAGE}/{STAGE}.html#exercise-double"
    assert "return 2 * x" not in (small.html / "searchindex.js").read_text(encoding="utf-8")


def test_answers_can_be_switched_off(fresh: SmallBook) -> None:
    fresh.build()
    assert (fresh.html / "answers" / f"{STAGE}.html").is_file()
    fresh.configure(xor2gpt_reference_answers=False)
    fresh.build()
    assert list(fresh.html.glob("answers/*")) == []
    assert "Reference answer" not in fresh.stage_page.get_text()
    assert fresh.stage_page.select(".reference-answer-link") == []
    assert "return 2 * x" not in "".join(
        path.read_text(encoding="utf-8") for path in fresh.html.rglob("*.html")
    )


def test_launch_buttons_wait_for_a_repository(small: SmallBook, fresh: SmallBook) -> None:
    def launchers(made: SmallBook) -> list[str]:
        links = made.stage_page.select("a[href]")
        hosts = ("colab.research.google.com", "mybinder.org")
        return [a["href"] for a in links if any(host in a["href"] for host in hosts)]

    assert launchers(small) == []
    fresh.configure({"repository": {"url": "https://github.com/me/course", "branch": "main"}})
    fresh.build()
    path = f"notebooks/{STAGE}/{STAGE}.ipynb"
    assert sorted(launchers(fresh)) == [
        f"https://colab.research.google.com/github/me/course/blob/main/{path}",
        f"https://mybinder.org/v2/gh/me/course/main?urlpath=lab/tree/{path}",
    ]
    assert foreign_requests(fresh.html) == []


def test_an_unknown_link_target_stops_the_build_and_the_next_one_too(fresh: SmallBook) -> None:
    fresh.edit_cell("title", "#term-line", "#term-lime")
    for _ in range(2):
        with pytest.raises(book.BookError, match=r"01_lines.*term-lime"):
            fresh.build()
    fresh.edit_cell("title", "#term-lime", "#term-line")
    fresh.build()


def test_an_unknown_source_stops_the_build(fresh: SmallBook) -> None:
    fresh.edit_cell("title", "#euclid300", "#euclid301")
    with pytest.raises(book.BookError, match="euclid301"):
        fresh.build()


def test_a_changed_reference_answer_renews_its_page(fresh: SmallBook) -> None:
    fresh.build()
    before = times(fresh.html)
    fresh.edit_cell("double", "2 * x  # the answer", "x + x  # another", folder="solutions")
    fresh.build()
    assert "return x + x" in fresh.page(f"answers/{STAGE}").get_text()
    after = times(fresh.html)
    assert after["book/glossary.html"] == before["book/glossary.html"]


def test_new_results_renew_the_results_page(fresh: SmallBook) -> None:
    fresh.build()
    source = ROOT / "benchmarks" / "results"
    recipe = source / "xor-seeds"
    for path in recipe.glob("*.json"):
        fresh.write(f"benchmarks/results/{recipe.name}/{path.name}", path.read_text("utf-8"))
    fresh.build()
    assert fresh.page("book/results").select("table.results-table")


# --- quizzes -----------------------------------------------------------------------------------
def form(small: SmallBook, question_id: str):  # noqa: ANN201  (a BeautifulSoup tag)
    return small.page(f"book/quizzes/{STAGE}").select_one(f'[data-question="{question_id}"]')


def key(small: SmallBook, question_id: str) -> dict:
    return json.loads(form(small, question_id)["data-key"])


def test_choices_are_native_controls_with_labels(small: SmallBook) -> None:
    for question_id, kind in (("q1.1", "radio"), ("q1.2", "checkbox")):
        question = form(small, question_id)
        inputs = question.select("li label input")
        assert [control["type"] for control in inputs] == [kind] * 3
        assert len({control["name"] for control in inputs}) == 1
        assert question.select_one("fieldset > legend") is not None
    assert key(small, "q1.1")["right"] == [0]
    assert key(small, "q1.2")["right"] == [0, 1]


def test_the_order_of_options_does_not_give_the_answer_away(small: SmallBook) -> None:
    shown = [int(step["data-item"]) for step in form(small, "q1.6").select(".quiz-step")]
    assert sorted(shown) == [0, 1, 2] and shown != [0, 1, 2]
    real = [load(ROOT / "book" / "quizzes" / f"{slug}.yml") for slug in QUIZZES]
    firsts = [q.options[0].correct for bank in real for q in bank.questions if q.type == "single"]
    page = soup(built_book() / "book" / "quizzes" / "03_xor_backprop.html")
    shown_first = [
        int(f.select_one(".quiz-option")["data-option"]) in json.loads(f["data-key"])["right"]
        for f in page.select(".quiz-single")
    ]
    assert firsts and not all(shown_first)


def test_a_number_question_carries_its_near_answers_and_unit(small: SmallBook) -> None:
    found = key(small, "q1.3")
    assert found == {
        "answer": 2.5,
        "tolerance": 0.001,
        "near": [{"value": 5.0, "tolerance": 0.001}],
    }
    question = form(small, "q1.3")
    control = question.select_one("input")
    assert question.select_one(f'label[for="{control["id"]}"]') is not None
    assert text_of(question.select_one(".quiz-unit")) == "m²"


def test_gaps_are_fields_inside_the_prompt(small: SmallBook) -> None:
    question = form(small, "q1.4")
    gaps = question.select(".quiz-prompt input")
    assert [gap["aria-label"] for gap in gaps] == ["Gap 1", "Gap 2"]
    assert key(small, "q1.4")["blanks"] == [["slope", "gradient"], ["offset"]]


def test_matching_uses_menus_and_its_key_points_at_the_right_choice(small: SmallBook) -> None:
    question = form(small, "q1.5")
    choices = [text_of(li.select("span")[1]) for li in question.select(".quiz-choices li")]
    rights = [choices[k] for k in key(small, "q1.5")["pairs"]]
    assert rights == ["2", "0", "-2"]
    for select in question.select("select"):
        assert question.select_one(f'label[for="{select["id"]}"]') is not None
        assert len(select.select("option")) == 5  # "choose …", three rights, one distractor


def test_without_javascript_the_answers_are_in_details(small: SmallBook) -> None:
    page = small.page(f"book/quizzes/{STAGE}")
    for question in page.select("form.quiz-question"):
        solution = question.select_one("details.quiz-solution")
        assert solution is not None and not solution.has_attr("hidden")
        assert question.select_one(".quiz-actions").has_attr("hidden")
    for wanted in ("The offset is missing.", "A parabola bends.", "That is the sum."):
        assert wanted in text_of(page.article)
    assert "Right: 2.5 m²" in text_of(form(small, "q1.3").select_one("details"))
    assert "gap 1: slope; gap 2: offset" in text_of(form(small, "q1.4").select_one("details"))


def test_markdown_in_a_bank_is_parsed_like_the_page(small: SmallBook) -> None:
    question = form(small, "q1.1")
    assert len(question.select(".quiz-option-text .math")) == 2
    assert question.select_one(".quiz-option-text code") is not None
    assert question.select_one('[data-note="explanation"] a')["href"].endswith("#term-line")


def test_the_script_comes_only_with_a_quiz(small: SmallBook) -> None:
    assert small.page(f"book/quizzes/{STAGE}").select('script[src*="quiz.js"]')
    assert not small.page("book/glossary").select('script[src*="quiz.js"]')


def test_a_changed_bank_renews_its_page_and_no_other(fresh: SmallBook) -> None:
    fresh.build()
    before = times(fresh.html)
    bank = copy.deepcopy(BANK)
    bank["questions"][0]["options"][1]["feedback"] = "Six is one short."
    fresh.write_bank(bank)
    fresh.build()
    assert "Six is one short." in fresh.page(f"book/quizzes/{STAGE}").get_text()
    after = times(fresh.html)
    changed = {name for name in after if name in before and after[name] != before[name]}
    assert f"book/quizzes/{STAGE}.html" in changed
    assert not {"book/glossary.html", f"notebooks/{STAGE}/{STAGE}.html"} & changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b["questions"][2].pop("answer"), "01_lines.yml.*q1.3.*answer"),
        (lambda b: b["questions"][0]["options"][1].update(correct=True), "q1.1.*options"),
        (lambda b: b["questions"][3].update(prompt="No gap."), "q1.4.*prompt"),
        (lambda b: b["questions"][5].update(type="sorting"), "q1.6.*type.*sorting"),
    ],
    ids=["missing-field", "two-right", "no-gap", "unknown-type"],
)
def test_a_broken_bank_stops_the_build_and_says_where(fresh: SmallBook, change, message) -> None:
    bank = copy.deepcopy(BANK)
    change(bank)
    fresh.write_bank(bank)
    with pytest.raises(book.BookError, match=message):
        fresh.build()


def test_a_missing_bank_stops_the_build_and_says_which(fresh: SmallBook) -> None:
    fresh.write(f"book/quizzes/{STAGE}.md", "# Quiz\n\n```{quiz} 99_none\n```\n")
    with pytest.raises(book.BookError, match=r"99_none\.yml is missing"):
        fresh.build()


# --- files and tools -----------------------------------------------------------------------------
def test_every_stage_with_a_page_is_in_the_table_of_contents() -> None:
    assert sorted(name.rsplit("/", 1)[-1] for name in SLUGS) == stage_names(ROOT)


def test_the_drawings_are_what_the_script_draws(tmp_path: Path) -> None:
    path = ROOT / "book" / "theme" / "draw_logo.py"
    drawn = runpy.run_path(str(path))["main"](tmp_path)
    assert drawn
    for file in drawn:
        committed = ROOT / "book" / "theme" / "static" / file.name
        assert file.read_bytes() == committed.read_bytes(), f"run draw_logo.py: {file.name}"


def test_what_is_vendored_has_its_licence_and_stays_small() -> None:
    vendor = ROOT / "book" / "vendor"
    for folder in (path for path in vendor.iterdir() if path.is_dir()):
        assert list(folder.glob("LICENSE*")), f"{folder.name} has no licence"
    assert sum(path.stat().st_size for path in vendor.rglob("*") if path.is_file()) < 3e6


def test_the_server_answers_on_localhost_only_and_says_when_a_port_is_taken(html: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(book.BookError, match=f"port {port} is not free"):
            book.server(html, port)
    with book.server(html) as shown:
        assert shown.server_address[0] == "127.0.0.1"


def test_the_server_needs_a_built_book(tmp_path: Path) -> None:
    with pytest.raises(book.BookError, match="make book"):
        book.server(tmp_path)


def test_a_build_outside_the_course_says_so(tmp_path: Path) -> None:
    with pytest.raises(book.BookError, match=r"_config\.yml is missing"):
        book.build(tmp_path)


@pytest.mark.parametrize("script", ["timeline", "fields", "agent"])
def test_figures_of_prose_pages_are_what_their_scripts_draw(script: str) -> None:
    path = ROOT / "book" / "figures" / f"{script}.py"
    done = subprocess.run(
        [sys.executable, str(path), "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
