"""The book in a real browser: every page, both themes, a telephone's width, quizzes by keyboard.

Does: open each page of the built book in Chromium and look at console, network, formulas, width
and accessibility (axe-core); answer every type of question with the keyboard alone.
Does not: compare screenshots (people look at those).
"""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
from axe_playwright_python.sync_playwright import Axe
from book_kit import ROOT, STAGE, built_book, soup, table_of_contents
from bs4 import Tag
from playwright.sync_api import BrowserContext, Page, expect
from watch_kit import Watch, wait_for_math

STAGES = [name for name in table_of_contents() if name.startswith("notebooks/")]
ANSWERS = [f"answers/{name.rsplit('/', 1)[-1]}" for name in STAGES]
PAGES = [*table_of_contents(), *ANSWERS, "search", "genindex"]
QUIZ = f"book/quizzes/{STAGE}.html"
SERIOUS = {"serious", "critical"}

# Raw dollars in text that no one wrote as code: a formula that was not set.
RAW_MATH = """() => {
  const skip = 'script, style, pre, code, mjx-container, .math';
  const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest(skip)) continue;
    if (/\\$[^$]+\\$|\\\\\\(|\\\\\\[/.test(node.textContent)) found.push(node.textContent.trim());
  }
  return found;
}"""

# A figure's ground (a pixel of its margin) and its extremes, after the filter of the theme.
TONES = """(image) => {
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext('2d');
  context.filter = getComputedStyle(image).filter;
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let [darkest, lightest] = [255, 0];
  const tone = (i) => (data[i] + data[i + 1] + data[i + 2]) / 3;
  for (let i = 0; i < data.length; i += 4) {
    darkest = Math.min(darkest, tone(i)); lightest = Math.max(lightest, tone(i));
  }
  return {ground: tone(4 * (2 * canvas.width + 2)), darkest, lightest};
}"""


@cache
def article(name: str) -> Tag:
    """The article of a page of the real book, as built."""
    return soup(built_book() / f"{name}.html").article


# Every colour of highlighted code against its ground: WCAG AA asks for 4.5. (axe does the same for
# all other text; for the thousands of small spans of code it takes seconds a page.)
CODE_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const pre of document.querySelectorAll('.highlight pre')) {
    const behind = luminance(ground(pre));
    for (const node of [pre, ...pre.querySelectorAll('span')]) {
      const style = getComputedStyle(node);
      const front = luminance(parse(style.color));
      const ratio = (Math.max(front, behind) + 0.05) / (Math.min(front, behind) + 0.05);
      if (ratio < 4.5) low.add(`${node.className || 'pre'} ${style.color}: ${ratio.toFixed(2)}`);
    }
  }
  return [...low];
}"""


def axe(page: Page, *rules: str) -> list[str]:
    """Serious and critical violations, one line each; of all rules, or of those named."""
    options = {"runOnly": list(rules)} if rules else {}
    found = Axe().run(page, context={"exclude": [[".highlight pre"]]}, options=options)
    violations = found.response["violations"]
    return [
        f"{found['id']} ({found['impact']}): "
        + "; ".join(f"{node['target']} {node['html'][:120]}" for node in found["nodes"][:4])
        for found in violations
        if found["impact"] in SERIOUS
    ]


def open_all_details(page: Page) -> None:
    page.evaluate("() => document.querySelectorAll('article details').forEach(d => d.open = true)")


def page_is_sound(context: BrowserContext, site: str, name: str) -> None:
    """Console, network, formulas, a telephone's width, and axe in light and dark."""
    page, watch = context.new_page(), Watch()
    watch.over(page, site)
    page.goto(f"{site}{name}.html", wait_until="load")
    wait_for_math(page)
    formulas = page.locator("article .math").count()
    if formulas:
        assert page.locator("article mjx-container").count() >= formulas
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, "a formula has an error"
    assert page.evaluate(RAW_MATH) == []
    assert page.locator("html").get_attribute("data-theme") == "light"
    open_all_details(page)
    page.set_viewport_size({"width": 360, "height": 740})
    width = page.evaluate("() => document.documentElement.scrollWidth")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('article *')].filter(e => "
        "e.getBoundingClientRect().right > 361 && !e.closest('pre, .table-box, mjx-container, "
        ".math')).slice(0, 5).map(e => e.outerHTML.slice(0, 120))"
    )
    assert width <= 360, f"the page scrolls sideways at 360 px ({width}): {wide}"
    page.set_viewport_size({"width": 1280, "height": 900})
    assert watch.everything == []  # read before axe, which asks for a file of its own
    assert axe(page) == [], "in light"
    assert page.evaluate(CODE_CONTRAST) == [], "code in light"
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert axe(page, "color-contrast", "link-in-text-block") == [], "in dark"
    assert page.evaluate(CODE_CONTRAST) == [], "code in dark"


def share_of_pages(names: list[str]) -> type:
    """A class of tests for some of the pages: several of them can run side by side."""

    class Share:
        @pytest.mark.parametrize("name", names)
        def test_a_page_is_sound(self, context: BrowserContext, site: str, name: str) -> None:
            page_is_sound(context, site, name)

    return Share


for _share in range(4):
    globals()[f"TestPages{_share}"] = share_of_pages(PAGES[_share::4])


def test_the_first_page_leads_to_the_welcome_page(page: Page, site: str) -> None:
    page.goto(site)
    expect(page).to_have_url(re.compile(r"/book/index\.html$"))
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("From XOR to GPT"))


def test_search_finds_a_word_of_the_last_page(page: Page, site: str) -> None:
    *others, last = table_of_contents()
    elsewhere = " ".join(article(name).get_text() for name in others).lower()
    prose = " ".join(paragraph.get_text() for paragraph in article(last).select("p"))
    word = next(w for w in re.findall(r"\b[a-z]{8,}\b", prose) if w not in elsewhere)
    page.goto(f"{site}search.html?q={word}")
    hit = page.locator(f'#search-results a[href*="{last}.html"]').first
    expect(hit).to_be_visible()
    hit.click()
    expect(page).to_have_url(re.compile(re.escape(last)))


def test_the_theme_switch_works_and_is_kept(page: Page, site: str) -> None:
    page.goto(f"{site}{PAGES[0]}.html")
    button = page.locator("button.theme-switch-button:visible").first
    seen = set()
    for _ in range(3):
        button.click()
        seen.add(page.locator("html").get_attribute("data-mode"))
    assert seen == {"light", "dark", "auto"}
    while page.locator("html").get_attribute("data-mode") != "dark":
        button.click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("name", STAGES)
def test_figures_read_well_in_both_themes(page: Page, site: str, name: str) -> None:
    page.goto(f"{site}{name}.html")
    open_all_details(page)
    images = page.locator("div.cell:not(.tag_photo) div.cell_output img")
    assert images.count() > 0
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        for image in images.all():
            seen = image.evaluate(TONES)
            if theme == "light":
                assert seen["ground"] > 240 and seen["darkest"] < 90, seen
            else:
                assert seen["ground"] < 20 and seen["lightest"] > 160, seen


def test_a_photograph_is_not_inverted_in_the_dark(page: Page, small_site: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{small_site}notebooks/{STAGE}/{STAGE}.html")
    image = page.locator(".tag_photo .cell_output img")
    assert image.evaluate("(node) => getComputedStyle(node).filter") == "none"


def test_code_has_a_copy_button(page: Page, site: str) -> None:
    page.goto(f"{site}{STAGES[0]}.html")
    blocks = page.locator("div.cell_input div.highlight").count()
    assert blocks > 0
    assert page.locator("div.cell_input button.copybtn").count() == blocks


def test_the_reference_answer_is_one_link_away_and_leads_back(page: Page, site: str) -> None:
    page.goto(f"{site}{STAGES[0]}.html")
    page.locator(".reference-answer-link").first.click()
    expect(page).to_have_url(re.compile(r"answers/.*#"))
    page.locator(".back-to-exercise a").first.click()
    expect(page).to_have_url(re.compile(r"notebooks/.*#exercise-"))
    anchor = page.url.partition("#")[2]
    expect(page.locator(f"[id='{anchor}']")).to_be_in_viewport()


# --- quizzes ---------------------------------------------------------------------------------
def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, selector: str, limit: int = 200) -> None:
    """Move the focus with Tab until it is on an element that matches; the mouse is never used."""
    for _ in range(limit):
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {selector}")


def question(page: Page, question_id: str):  # noqa: ANN201  (a locator)
    return page.locator(f'[data-question="{question_id}"]')


def inside(question_id: str, selector: str) -> str:
    return f'[data-question="{question_id}"] {selector}'


def verdict(page: Page, question_id: str):  # noqa: ANN201  (a locator)
    return question(page, question_id).locator(".quiz-verdict")


@pytest.fixture
def quiz(page: Page, small_site: str) -> Page:
    page.goto(small_site + QUIZ)
    wait_for_math(page)
    return page


def test_every_type_is_answered_by_keyboard_alone(quiz: Page) -> None:
    # single: the arrows move the choice
    tab_to(quiz, inside("q1.1", "input[type=radio]"))
    quiz.keyboard.press("Space")
    for _ in range(3):
        if quiz.evaluate("() => document.activeElement.value") == "1":
            break
        quiz.keyboard.press("ArrowDown")
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.1")).to_contain_text("Not yet.")
    expect(question(quiz, "q1.1").locator(".quiz-result")).to_contain_text("The offset is missing.")
    while quiz.evaluate("() => document.activeElement.value") != "0":
        quiz.keyboard.press("ArrowDown")
    tab_to(quiz, inside("q1.1", ".quiz-check"))
    quiz.keyboard.press("Space")
    expect(verdict(quiz, "q1.1")).to_contain_text("Right.")
    result = question(quiz, "q1.1").locator(".quiz-result")
    expect(result.locator("details")).to_have_attribute("open", "")
    assert result.get_attribute("role") == "status"
    assert result.locator("mjx-container").count() > 0, "feedback is not typeset"

    # multiple: Tab and Space
    for _ in range(3):
        tab_to(quiz, inside("q1.2", "input:not([data-seen])"))
        if quiz.evaluate("() => (document.activeElement.dataset.seen = '1',"
                         " ['0', '1'].includes(document.activeElement.value))"):  # fmt: skip
            quiz.keyboard.press("Space")
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.2")).to_contain_text("Right.")

    # numeric: a near answer gets its own feedback, a decimal comma is understood
    tab_to(quiz, inside("q1.3", "input"))
    quiz.keyboard.type("5")
    quiz.keyboard.press("Enter")
    expect(question(quiz, "q1.3").locator(".quiz-result")).to_contain_text("That is the sum.")
    press(quiz, "Control+a")
    quiz.keyboard.type("2,5")
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.3")).to_contain_text("Right.")

    # fill: case and spaces do not matter
    tab_to(quiz, inside("q1.4", 'input[aria-label="Gap 1"]'))
    quiz.keyboard.type(" Gradient ")
    quiz.keyboard.press("Tab")
    quiz.keyboard.type("slope")
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.4")).to_contain_text("1 of 2 are right")
    press(quiz, "Control+a")
    quiz.keyboard.type("OFFSET")
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.4")).to_contain_text("Right.")

    # matching: menus, chosen by letter
    for pair in range(3):
        tab_to(quiz, inside("q1.5", f"[id$=pair-{pair}]"))
        letter = quiz.evaluate(
            "(pair) => { const form = document.querySelector('[data-question=\"q1.5\"]');"
            "return String.fromCharCode(65 + JSON.parse(form.dataset.key).pairs[pair]); }",
            pair,
        )
        quiz.keyboard.type(letter)
    tab_to(quiz, inside("q1.5", ".quiz-check"))
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.5")).to_contain_text("Right.")

    # ordering: buttons move a step, keep the focus, and say where it is now
    for target in (0, 1):
        tab_to(quiz, inside("q1.6", f'[data-item="{target}"] [data-move=up]'))
        while quiz.evaluate(
            "(t) => [...document.querySelectorAll('[data-question=\"q1.6\"] .quiz-step')]"
            ".findIndex(s => s.dataset.item == t) > t",
            target,
        ):
            quiz.keyboard.press("Enter")
            expect(question(quiz, "q1.6").locator(".quiz-live")).to_contain_text("now step")
            assert quiz.evaluate(
                "(t) => document.activeElement.closest('.quiz-step').dataset.item == t", target
            ), "the focus is lost when a step moves"
        quiz.evaluate("() => document.querySelector('[data-question=\"q1.6\"] .quiz-move').focus()")
    tab_to(quiz, inside("q1.6", ".quiz-check"))
    quiz.keyboard.press("Enter")
    expect(verdict(quiz, "q1.6")).to_contain_text("Right.")
    expect(quiz.locator(".quiz-score")).to_have_text("6 of 6 answered · 6 right")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2.5", "Right."),
        ("5/2", "Right."),
        ("2.5e0", "Right."),
        ("+2.5009", "Right."),
        ("2.502", "Not yet."),
        ("\u22122.5", "Not yet."),
        ("2,500", "Right."),  # a decimal comma; as thousands it would be wrong
        ("two", "This is not a number."),
        ("2.5;alert(1)", "This is not a number."),
        ("  ", "Nothing is chosen or written yet."),
    ],
)
def test_numbers_are_read_as_people_write_them(quiz: Page, text: str, says: str) -> None:
    quiz.fill(inside("q1.3", "input"), text)
    quiz.press(inside("q1.3", "input"), "Enter")
    expect(verdict(quiz, "q1.3")).to_contain_text(says)


def test_a_wrong_choice_of_several_says_what_was_left_out(quiz: Page) -> None:
    quiz.check(inside("q1.2", 'input[value="2"]'))
    quiz.press(inside("q1.2", 'input[value="2"]'), "Enter")
    result = question(quiz, "q1.2").locator(".quiz-result")
    expect(result).to_contain_text("0 of 3 are right")
    expect(result).to_contain_text("A parabola bends.")
    expect(result).to_contain_text("not chosen, but right")
    expect(result.locator("details")).not_to_have_attribute("open", "")
    assert question(quiz, "q1.2").locator(".mark-wrong").count() == 3


def test_a_moved_step_at_the_end_of_the_list_says_so(quiz: Page) -> None:
    first = question(quiz, "q1.6").locator(".quiz-step").first.locator("[data-move=up]")
    assert first.get_attribute("aria-disabled") == "true"
    first.focus()
    quiz.keyboard.press("Enter")
    expect(question(quiz, "q1.6").locator(".quiz-live")).to_have_text("This step is already first.")


def test_answers_survive_a_reload_and_can_be_forgotten(quiz: Page) -> None:
    quiz.check(inside("q1.1", 'input[value="1"]'))
    quiz.press(inside("q1.1", 'input[value="1"]'), "Enter")
    quiz.fill(inside("q1.4", 'input[aria-label="Gap 1"]'), "half written")
    order = "() => [...document.querySelectorAll('.quiz-step')].map(s => s.dataset.item).join()"
    question(quiz, "q1.6").locator("[data-move=down]").first.click()
    moved = quiz.evaluate(order)
    quiz.reload()
    expect(verdict(quiz, "q1.1")).to_contain_text("Not yet.")
    expect(quiz.locator(inside("q1.1", 'input[value="1"]'))).to_be_checked()
    expect(quiz.locator(inside("q1.4", 'input[aria-label="Gap 1"]'))).to_have_value("half written")
    expect(verdict(quiz, "q1.4")).to_have_count(0)
    assert quiz.evaluate(order) == moved
    assert quiz.evaluate("() => Object.keys(localStorage)").count(f"xor2gpt:quiz:{STAGE}") == 1
    quiz.once("dialog", lambda dialog: dialog.accept())
    quiz.click(".quiz-forget")
    expect(verdict(quiz, "q1.1")).to_have_count(0)
    expect(quiz.locator(".quiz-score")).to_have_text("0 of 6 answered · 0 right")
    quiz.reload()
    expect(quiz.locator(inside("q1.1", 'input[value="1"]'))).not_to_be_checked()
    assert quiz.evaluate(order) != moved


def test_a_pre_test_keeps_its_feedback_to_the_end(quiz: Page) -> None:
    quiz.check('.quiz-mode input[value="pre"]')
    quiz.check(inside("q1.1", 'input[value="0"]'))
    quiz.press(inside("q1.1", 'input[value="0"]'), "Enter")
    expect(verdict(quiz, "q1.1")).to_have_text("Saved. The feedback comes at the end.")
    quiz.fill(inside("q1.3", "input"), "5")
    quiz.press(inside("q1.3", "input"), "Enter")
    visible = quiz.locator("article").inner_text()
    assert "Right." not in visible and "That is the sum." not in visible
    expect(quiz.locator(".quiz-score")).to_have_text("2 of 6 answered")
    quiz.reload()  # the mode and the answers stay
    expect(verdict(quiz, "q1.1")).to_have_text("Saved. The feedback comes at the end.")
    quiz.focus(".quiz-finish-button")
    quiz.keyboard.press("Enter")
    expect(quiz.locator(".quiz-finish-note")).to_contain_text("1 of 6 right")
    expect(quiz.locator(".quiz-finish-note")).to_be_focused()
    expect(verdict(quiz, "q1.1")).to_contain_text("Right.")
    expect(question(quiz, "q1.3").locator(".quiz-result")).to_contain_text("That is the sum.")
    quiz.check('.quiz-mode input[value="post"]')
    expect(verdict(quiz, "q1.1")).to_have_count(0)  # the post-test starts fresh
    expect(quiz.locator(".quiz-score")).to_have_text(
        "0 of 6 answered · 0 right · pre-test: 1 of 6 right"
    )


def test_a_quiz_works_where_storage_is_refused(page: Page, small_site: str) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})"
    )
    watch = Watch()
    page.on("pageerror", lambda error: watch.console.append(str(error)))
    page.goto(small_site + QUIZ)
    expect(page.locator(".quiz-storage-note")).to_contain_text("does not let this page keep")
    page.fill(inside("q1.3", "input"), "2.5")
    page.press(inside("q1.3", "input"), "Enter")
    expect(verdict(page, "q1.3")).to_contain_text("Right.")
    assert not [text for text in watch.console if "quiz" in text]


def test_a_spoilt_store_does_not_stop_the_quiz(page: Page, small_site: str) -> None:
    page.goto(small_site + QUIZ)
    form = question(page, "q1.1")
    answer = {"value": "five", "checked": True, "version": form.get_attribute("data-version")}
    run = {"answers": {"q1.1": answer, "q9.9": answer}}
    foreign = json.dumps({"mode": "post", "pre": run, "post": run})
    for spoilt in ("not json", "{}", '{"mode": "pre", "pre": 3, "post": {}}', "[]", foreign):
        page.evaluate(f"(t) => localStorage.setItem('xor2gpt:quiz:{STAGE}', t)", spoilt)
        page.reload()
        page.fill(inside("q1.3", "input"), "2.5")
        page.press(inside("q1.3", "input"), "Enter")
        expect(verdict(page, "q1.3")).to_contain_text("Right.")


def test_a_changed_question_forgets_its_old_answer_and_no_other(quiz: Page) -> None:
    for question_id, value in (("q1.1", "1"), ("q1.2", "2")):
        quiz.check(inside(question_id, f'input[value="{value}"]'))
    quiz.evaluate(
        f"() => {{ const key = 'xor2gpt:quiz:{STAGE}'; const state = JSON.parse(localStorage[key]);"
        "state.post.answers['q1.1'].version = 'older'; localStorage[key] = JSON.stringify(state); }"
    )
    quiz.reload()
    expect(quiz.locator(inside("q1.1", 'input[value="1"]'))).not_to_be_checked()
    expect(quiz.locator(inside("q1.2", 'input[value="2"]'))).to_be_checked()


def test_without_javascript_every_answer_can_be_unfolded(browser, small_site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(small_site + QUIZ)
    expect(page.locator(".quiz-noscript")).to_be_visible()
    expect(page.locator(".quiz-bar")).to_be_hidden()
    page.click(inside("q1.3", "details summary"))
    expect(page.locator(inside("q1.3", "details"))).to_contain_text("Right: 2.5")
    context.close()


def test_the_real_quizzes_accept_their_own_keys(page: Page, site: str) -> None:
    """Fill every question of every bank with its key: all must come out right."""
    banks = sorted(path.stem for path in (ROOT / "book" / "quizzes").glob("*.yml"))
    names = {slug: page_with_quiz(slug) for slug in banks}
    for slug, name in names.items():
        page.goto(f"{site}{name}")
        total = page.evaluate(FILL_WITH_KEYS)
        expect(page.locator(".quiz-score")).to_have_text(
            f"{total} of {total} answered · {total} right"
        )
        assert total > 0, f"{slug} has no question"


def page_with_quiz(slug: str) -> str:
    for name in table_of_contents():
        if article(name).select_one(f'[data-quiz="{slug}"]'):
            return f"{name}.html"
    raise LookupError(f"no page shows the quiz {slug}")


FILL_WITH_KEYS = """() => {
  const forms = [...document.querySelectorAll('.quiz-question')];
  for (const form of forms) {
    const key = JSON.parse(form.dataset.key);
    const type = form.dataset.type;
    if (type === 'single' || type === 'multiple') {
      for (const input of form.querySelectorAll('.quiz-option input'))
        input.checked = key.right.includes(Number(input.value));
    } else if (type === 'numeric') {
      form.querySelector('.quiz-numeric-input').value = String(key.answer);
    } else if (type === 'fill') {
      for (const input of form.querySelectorAll('.quiz-blank'))
        input.value = key.blanks[Number(input.name.split('-').pop()) - 1].at(-1);
    } else if (type === 'matching') {
      form.querySelectorAll('.quiz-pair select').forEach((s, i) => (s.value = key.pairs[i]));
    } else {
      const list = form.querySelector('.quiz-steps');
      [...list.children].sort((a, b) => a.dataset.item - b.dataset.item)
        .forEach((step) => list.append(step));
    }
    form.requestSubmit();
  }
  return forms.length;
}"""
