"""Feedback pages and the zips that carry them back: complete, readable, and harmless."""

import os
import re
import shutil
import stat
import zipfile
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pages_kit import (
    ANSWER,
    CANARY,
    MANIFEST,
    PAYLOADS,
    STUB,
    TEXT,
    assert_harmless,
    invalid,
    make_manifest,
    make_result,
    make_submission,
)

from autograder import pages
from autograder.feedback import REMARKS, WORDS, labels_from_notes, write_feedback, write_zip
from autograder.model import Flag, Submission, Verdict
from xor2gpt.plots import contrast_ratio

KEY = bytes(range(32))


def page_of(folder, submission, result, **options):
    path = write_feedback(
        MANIFEST, submission, result, folder, course_title="From XOR to GPT", **options
    )
    return path.read_text(encoding="utf-8")


def whole(text):
    """Without half characters: a result holds none, its digest could not be taken."""
    return text.encode("utf-8", "replace").decode()


def words_of(soup):
    return re.sub(r"\s+", " ", soup.get_text(" "))


# --- what a student sees --------------------------------------------------------------------------


def test_points_messages_answers_and_code_are_on_the_page(tmp_path):
    submission = make_submission(
        cells=[
            ("double", ANSWER),
            ("lesson", "table = np.arange(4)\nprint(table)"),
            ("extra-1", "x = 41 + 1"),
        ],
        answers={
            "why": "Because **two** lines:\n\n1. first\n2. second, see [here](https://example.org/a)"
        },
    )
    result = make_result(
        submission, passed=[True, False, False], messages=["too small", "no total"]
    )
    soup = assert_harmless(
        page_of(tmp_path, submission, result, manual_comments={"why": "Good, but `why` two?"})
    )
    text = words_of(soup)
    assert "Stage 2: small" in text and "ada" in text and "2026-03-02 10:00 UTC" in text
    assert "1 of 4 points from automatic checks" in text and "1 of 3 checks passed" in text
    rows = [row.get_text(" ", strip=True) for row in soup.select("tbody tr")]
    assert rows == [
        "double double-check-1 ✓ passed (AC) 1 of 1",
        "double double-check-2 ✗ wrong answer (WA) 0 of 2 too small",
        "sum sum-1 ✗ wrong answer (WA) 0 of 1 no total",
    ]
    assert (
        soup.select_one(".answer strong").text == "two" and len(soup.select(".answer ol li")) == 2
    )
    assert soup.select_one(".answer a")["href"] == "https://example.org/a"
    assert "not graded yet" in text and "Good, but why two?" in text
    assert [pre.text for pre in soup.select("pre")] == [ANSWER, "x = 41 + 1"]
    assert "1 cell of the lesson is as handed out" in text


def test_manual_points_are_shown_once_a_person_gave_them(tmp_path):
    submission = make_submission(answers={"why": "so"})
    text = words_of(
        assert_harmless(page_of(tmp_path, submission, make_result(submission, manual=1.5)))
    )
    assert "1.5 of 2 points from questions that a person grades" in text
    assert "not graded yet" not in text


def test_an_unanswered_exercise_is_named_and_its_stub_not_repeated(tmp_path):
    submission = make_submission(cells=[("double", STUB)])
    result = make_result(submission, passed=[False] * 3, verdict=Verdict.RE)
    soup = assert_harmless(page_of(tmp_path, submission, result))
    assert "As handed out: not answered." in words_of(soup) and not soup.select("pre")


def test_a_file_that_cannot_be_read_gets_one_clear_sentence(tmp_path):
    problem = "Your file ends in the middle: save it again and hand it in again."
    soup = assert_harmless(page_of(tmp_path, *invalid("dora", problem)))
    text = words_of(soup)
    assert text.count(problem) == 1 and "could not be read" in text
    assert "Your notebook" not in text


def test_flags_for_students_are_told_in_words_and_staff_flags_are_not(tmp_path):
    submission = make_submission(flags=list(Flag), notes=["cell 'double' was found by its text"])
    text = words_of(assert_harmless(page_of(tmp_path, submission, make_result(submission))))
    assert "suspicious" not in text.lower() and Flag.SUSPICIOUS not in REMARKS
    assert all(sentence in text for sentence in REMARKS.values())
    assert set(REMARKS) == set(Flag) - {Flag.SUSPICIOUS}, "a flag has no words for students"
    assert "cell 'double' was found by its text" in text


def test_every_verdict_has_words():
    assert set(WORDS) == set(Verdict)


def test_what_is_long_is_cut_and_says_so(tmp_path):
    source = "x = '" + "a" * 5000 + "'\n" + "y = 1\n" * 600
    submission = make_submission(
        cells=[("double", source)] + [(f"extra-{i}", "z = 1") for i in range(1, 401)],
        answers={"why": "words" * 20_000},
    )
    result = make_result(submission, passed=[False] * 3, messages=["m" * 5000] * 3)
    html = page_of(tmp_path, submission, result)
    text = words_of(assert_harmless(html))
    assert "202 more lines, the ends of lines longer than 300 characters" in text
    assert "80,000 more characters" in text and "3,000 more characters" in text
    assert "Not shown: 101 more of your cells." in text
    assert len(html) < 400_000


def test_a_page_never_mixes_students_files_or_stages(tmp_path):
    ada, bob = make_submission("ada"), make_submission("bob")
    with pytest.raises(ValueError, match="'ada': the result's student is 'ada', but 'bob'"):
        page_of(tmp_path, bob, make_result(ada))
    with pytest.raises(ValueError, match="sha256 of the graded file"):
        page_of(tmp_path, replace(ada, sha256="0" * 64), make_result(ada))
    other = make_manifest([("double-check-1", "double", 5.0)])
    with pytest.raises(ValueError, match="list of checks"):
        page_of(tmp_path, ada, make_result(ada, manifest=other, passed=[True]))
    assert not list(tmp_path.iterdir())


def test_a_message_that_quotes_hidden_source_is_not_shown(tmp_path):
    submission = make_submission(notes=[])
    leak = f'File "<check>", line 3\n    {CANARY}\nValueError: boo'
    result = make_result(submission, passed=[False] * 3, messages=[leak, "an honest message"])
    html = page_of(tmp_path, submission, result)
    assert "canary" not in html and "This check failed while it ran your code." in html
    assert "an honest message" in html


def test_the_same_files_give_the_same_page_and_no_rubbish_stays(tmp_path):
    submission = make_submission()
    first = page_of(tmp_path, submission, make_result(submission))
    again = page_of(tmp_path, submission, make_result(submission))
    assert first == again and [path.name for path in tmp_path.iterdir()] == ["ada.html"]


# --- anonymous pages ------------------------------------------------------------------------------


def test_anonymous_pages_have_stable_names_that_say_nothing(tmp_path):
    submission = make_submission(
        "ada.lovelace",
        cells=[("double", "# by Ada.Lovelace\n" + ANSWER)],
        notes=["'Ada Lovelace_17' is graded as student 'ada.lovelace'"],
    )
    result = make_result(submission, passed=[False] * 3, messages=["ada.lovelace failed"] * 3)
    html = page_of(tmp_path, submission, result, anonymous=True, key=KEY)
    soup = assert_harmless(html)
    name = pages.pseudonym("ada.lovelace", KEY)
    assert re.fullmatch(r"S-[a-z2-7]{8}", name) and f"Feedback for {name}" in words_of(soup)
    assert "lovelace" not in html.lower()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.html"]
    assert pages.pseudonym("ada.lovelace", bytes(32)) != name != pages.pseudonym("bob", KEY)


def test_anonymous_pages_need_a_key(tmp_path):
    submission = make_submission()
    with pytest.raises(ValueError, match="need a key"):
        page_of(tmp_path, submission, make_result(submission), anonymous=True)


def test_the_key_is_made_once_kept_private_and_checked(tmp_path):
    path = tmp_path / "deep" / "anonymous.key"
    key = pages.read_key(path)
    assert len(key) == 32 and pages.read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("no key")
    with pytest.raises(ValueError, match="holds no key"):
        pages.read_key(path)


# --- harmless, whatever comes ---------------------------------------------------------------------


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TEXT, min_size=9, max_size=9))
@example(PAYLOADS[:9])
@example(PAYLOADS[9:18])
@example(PAYLOADS[18:27])
@example(["".join(PAYLOADS)] * 9)
def test_no_text_gets_through(tmp_path_factory, texts):
    name, cell, source, answer, message, note, problem, comment, title = texts
    name, message, note, problem = map(whole, (name, message, note, problem))
    submission = make_submission(
        name,
        cells=[("double", source), (cell, source)],
        answers={"why": answer},
        notes=[note],
        received=note,
    )
    result = make_result(submission, passed=[False] * 3, messages=[message] * 3)
    folder = tmp_path_factory.mktemp("pages")
    for chosen in ((submission, result), invalid(name, problem)):
        options = {"manual_comments": {"why": comment}, "stage_title": title}
        path = write_feedback(MANIFEST, *chosen, folder, course_title=title, **options)
        assert path.parent == folder, "the name of a student left the folder"
        html = path.read_text(encoding="utf-8")
        assert_harmless(html)
        assert CANARY not in html


@given(TEXT)
@settings(max_examples=200, deadline=None)
def test_markdown_and_code_hold_only_what_is_allowed(text):
    html = pages.markdown(text) + pages.highlight(pages.cut(text, columns=300).text)
    assert not re.search(
        r"<(?!/?(?:p|br|hr|h[4-6]|em|strong|s|code|pre|blockquote|ul|ol|li|a|span|"
        r"table|thead|tbody|tr|th|td)[\s>/])",
        html,
    )
    assert not re.search(r"<[^>]*\s(?:on\w+|style|src|srcdoc)\s*=", html)
    for href in re.findall(r'href="([^"]*)"', html):
        assert re.match(r"https?://[^/]", href, re.IGNORECASE)


def test_html_in_an_answer_is_shown_not_obeyed():
    shown = pages.markdown("a <b>bold</b> word\n\n<table><tr><td>x</td></tr></table>")
    assert "<b>" not in shown and "<table>" not in shown
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown and "&lt;table&gt;" in shown


@given(TEXT)
@settings(max_examples=200, deadline=None)
def test_lines_for_logs_hold_no_command_and_no_escape(text):
    line = pages.for_log(text)
    assert "\n" not in line and not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", line)
    assert not re.match(r"\s*::", line) and not re.search(r"##[\w.-]*\[", line)
    assert pages.for_log(line) == line


def test_cleaning_leaves_honest_text_alone():
    text = "x[::2] # 你好, é, נ, 👩‍🔬\n\tdef f(): return '##'"
    assert pages.clean(text) == text


@pytest.mark.parametrize(
    "unit", ["[", "[x]: y\n", "> ", "*a ", "![", "`", "|a", "$", "<", "((", "f'"]
)
def test_no_text_takes_long(unit):
    text = (unit * pages.CELL_LENGTH)[: pages.CELL_LENGTH]
    start = os.times().user
    pages.markdown(text)
    pages.highlight(pages.cut(text, columns=pages.LINE_LENGTH).text)
    assert os.times().user - start < 3.0


def test_a_browser_runs_nothing_and_asks_nobody(tmp_path, need_program):
    """The page with all payloads at once in a real browser: also its own idea of the markup."""
    from playwright.sync_api import sync_playwright

    program = need_program("chromium", "chromium-browser", "google-chrome", why="to look at pages")
    everything = "\n\n".join(PAYLOADS)
    submission = make_submission(
        cells=[("double", everything), ("extra-1", everything)],
        answers={"why": everything},
        notes=[whole(everything)],
    )
    result = make_result(submission, passed=[False] * 3, messages=PAYLOADS[:3])
    path = write_feedback(MANIFEST, submission, result, tmp_path, course_title=PAYLOADS[0])
    said: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append("dialog"))
        page.on("request", lambda request: said.append(request.url))
        page.goto(path.as_uri())
        found = page.evaluate(
            "[...document.querySelectorAll('*')].flatMap(e => [e.localName, "
            "...[...e.attributes].map(a => '@' + a.name)])"
        )
        wide = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert said == [path.as_uri()]
    assert not {"script", "iframe", "img", "svg", "math", "object", "form", "base"} & set(found)
    assert not [name for name in found if name.startswith("@on") or name == "@style"]
    assert wide <= 360, f"the page is {wide} pixels wide on a phone"


def test_colours_can_be_read_in_light_and_dark():
    style = (pages.TEMPLATES / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    for block in blocks:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for back in ("back", "panel", "good-back", "bad-back", "warn-back"):
            for name in ("text", "muted", "strong", "good", "bad", "warn"):
                assert contrast_ratio(colour[name], colour[back]) >= 4.5, (name, back)
        for name in [name for name in colour if name.startswith("hl-")]:
            assert contrast_ratio(colour[name], colour["panel"]) >= 4.5, name
        assert contrast_ratio(colour["text"], colour["mark"]) >= 4.5
        assert contrast_ratio(colour["link"], colour["back"]) >= 4.5


# --- zips -----------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    made = {}
    for student in ("ada", "bob"):
        made[student] = tmp_path / f"{student}.html"
        made[student].write_text(f"page of {student}")
    return made


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_plain_zip_has_a_file_per_student_and_is_repeatable(files, tmp_path):
    packed = write_zip(files, tmp_path / "a.zip")
    assert names_in(packed.path) == {"ada.html": "page of ada", "bob.html": "page of bob"}
    assert not packed.unmatched
    write_zip(dict(reversed(files.items())), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_moodle_finds_its_students_by_the_folder_it_made(files, tmp_path):
    label = "Ada O'Neill King_1234567_assignsubmission_file_"
    packed = write_zip(files, tmp_path / "m.zip", "moodle", labels={"ada": label})
    names = names_in(packed.path)
    assert names[f"{label}/feedback.html"] == "page of ada"
    # importziplib.php: explode('_', part, 5); number in [1], plugin in [2] and [3]
    part = f"{label}/feedback.html".split("/")[0].split("_", 4)
    assert part[1].isdigit() and part[2:4] == ["assignsubmission", "file"]
    assert packed.unmatched == ["bob"] and "bob/feedback.html" in names


def test_canvas_finds_its_students_by_the_first_two_numbers(files, tmp_path):
    labels = {"ada": "kingada_LATE_501_9001_03_xor_backprop-1.ipynb", "bob": "b_502_9002_a.ipynb"}
    packed = write_zip(files, tmp_path / "c.zip", "canvas", labels=labels)
    names = names_in(packed.path)
    assert names["kingada_LATE_501_9001_03_xor_backprop-1.html"] == "page of ada"
    for name, ids in zip(sorted(names), [["502", "9002"], ["501", "9001"]], strict=True):
        assert [part for part in name.split("_") if part.isdigit()][:2] == ids
    assert not packed.unmatched


@pytest.mark.parametrize(
    "label",
    [
        "../x_1_assignsubmission_file_",
        "a/b_1_assignsubmission_file_",
        "a_b_assignsubmission_file_",
        "a_1_assignsubmission_file_/../../x",
        "_1\x00_assignsubmission_file",
        "C:\\a_1_assignsubmission_file_",
    ],
)
@pytest.mark.parametrize("platform", ["moodle", "canvas"])
def test_a_strange_label_is_not_used(files, tmp_path, label, platform):
    packed = write_zip(files, tmp_path / "z.zip", platform, labels={"ada": label})
    assert packed.unmatched == ["ada", "bob"]
    assert all(
        not name.startswith(("/", "..")) and ".." not in name for name in names_in(packed.path)
    )


def test_a_zip_never_gives_two_students_one_name(files, tmp_path):
    label = "Ada_1_assignsubmission_file_"
    with pytest.raises(ValueError, match="would both be"):
        write_zip(files, tmp_path / "z.zip", "moodle", labels={"ada": label, "bob": label})
    with pytest.raises(ValueError, match="unknown platform 'blackboard'"):
        write_zip(files, tmp_path / "z.zip", "blackboard")
    assert not (tmp_path / "z.zip").exists()


def test_labels_are_read_from_what_intake_noted_and_not_shown(tmp_path):
    note = "the platform's name is 'Ada King_1234567_assignsubmission_file_'"
    submission = make_submission(notes=[note, "two cells were moved"])
    canvas = make_submission("bob", notes=["from 'bob_5_6_a.ipynb'"])
    assert labels_from_notes([submission, canvas, make_submission("eve_1_2_x.ipynb")]) == {
        "ada": "Ada King_1234567_assignsubmission_file_",
        "bob": "bob_5_6_a.ipynb",
    }
    html = page_of(tmp_path, submission, make_result(submission))
    assert "1234567" not in html and "two cells were moved" in html


def test_submissions_survive_the_way_through_json(tmp_path):
    """What the ledger stores is enough for the page."""
    submission = make_submission(answers={"why": "x"}, flags=[Flag.LATE])
    stored = Submission.from_json(submission.to_json())
    first = page_of(tmp_path / "a", submission, make_result(submission))
    assert page_of(tmp_path / "b", stored, make_result(stored)) == first
    shutil.rmtree(tmp_path / "a")
