"""Similar submissions: planted copies are found, honest and unanswered ones are not."""

import random
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from pages_kit import MANIFEST, STUB, TEXT, assert_harmless, make_submission

from autograder import pages
from autograder.manifest import StudentCell
from autograder.similarity import similarity, write_similarity

KEY = bytes(range(32))
BODY = """def double(x):
    doubled, seen = [], 0
    for index, value in enumerate(np.asarray(x).ravel().tolist()):
        if index % 2 == 0 and value > 0:
            doubled.append(value + value)
        else:
            doubled.append(2 * value - 0.0)
        seen += 1
    if seen != np.size(x):
        raise RuntimeError("lost some")
    return np.asarray(doubled).reshape(np.shape(x))
"""
RENAMED = (
    BODY.replace("doubled", "out").replace("value", "v").replace("index", "k").replace("    ", "  ")
)
OTHER = """def double(x):
    # by a stack
    stack, result = list(x), {}
    while stack:
        top = stack.pop()
        result[len(stack)] = sum([top, top])
    assert result, 'nothing to do'
    return [result[key] for key in sorted(result)]
"""


def own(student, source, cell="double"):
    return make_submission(student, cells=[(cell, source)])


def found(*submissions, **options):
    return [(pair.a, pair.b) for pair in similarity(MANIFEST, submissions, **options)]


def scribble(seed, lines=14):
    """Code that nobody else writes: random statements of many shapes."""
    rng = random.Random(seed)
    forms = [
        "{a} = {n} * {b} + {c}",
        "print('{a}', {n}, {b})",
        "{a}[{n}] = {b}.{c}({a})",
        "assert {a}.{b} == {n}, '{c}'",
        "{a}, {b} = {b} - {n}, {c} / {a}",
        "{a} = [{b} for {b} in range({n})]",
        "{a} = {{{n}: {b}, '{c}': ({n},)}}",
        "if {a} > {n}: {b} = -{c}",
    ]
    body = [
        "    " + rng.choice(forms).format(
            a=rng.choice("abc"), b=rng.choice("uvw"), c=rng.choice("pqr"), n=rng.randrange(1000)
        )
        for _ in range(lines)
    ]  # fmt: skip
    return "def double(x):\n" + "\n".join(body) + "\n"


def test_a_copy_is_found_also_with_other_names_and_spaces():
    pairs = similarity(MANIFEST, [own("ada", BODY), own("bob", RENAMED), own("cem", OTHER)])
    assert [(pair.a, pair.b) for pair in pairs] == [("ada", "bob")]
    (pair,) = pairs
    assert pair.share_a == pair.share_b == 1.0 and not pair.same_file
    assert 0.3 < pair.spelling < 0.95, "the names are others"
    (copy,) = similarity(MANIFEST, [own("ada", BODY), own("bob", BODY)])
    assert copy.spelling == 1.0


def test_the_same_file_is_called_so():
    ada = own("ada", BODY)
    (pair,) = similarity(MANIFEST, [ada, replace(ada, student="bob")])
    assert pair.same_file


def test_code_that_was_moved_to_another_cell_is_found():
    moved = make_submission("bob", cells=[("double", STUB), ("extra-1", BODY)])
    assert found(own("ada", BODY), moved) == [("ada", "bob")]


def test_handed_out_code_and_unanswered_cells_do_not_count():
    lesson = StudentCell("long", BODY)
    manifest = replace(MANIFEST, cells=[*MANIFEST.cells, lesson])
    stubs = [
        make_submission(f"s{i}", cells=[(cell.id, cell.source) for cell in manifest.cells])
        for i in range(4)
    ]
    assert similarity(manifest, stubs) == []
    # what was handed out, pasted into the answer by two students, is not their own either
    assert similarity(manifest, [own("ada", BODY), own("bob", BODY)]) == []
    assert similarity(MANIFEST, [own("ada", BODY), own("bob", BODY)], known=[BODY]) == []


def test_what_many_write_alike_is_nobodys():
    natural = (
        "    total = sum(value * value for value in list(np.asarray(x).ravel().tolist()))\n" * 2
    )
    crowd = [own(f"s{i:02d}", scribble(i) + natural) for i in range(30)]
    assert found(*crowd, threshold=0.1, amount=60) == []
    assert len(found(*crowd[:8], threshold=0.1, amount=60)) == 28, "few enough to be remarkable"


def test_a_file_that_many_handed_in_from_end_to_end_is_still_listed():
    ring = [own(f"ring{i:02d}", BODY) for i in range(12)]
    crowd = [own(f"s{i:02d}", scribble(i)) for i in range(20)]
    pairs = found(*ring, *crowd, most=500)
    assert len(pairs) == 12 * 11 // 2 and all(a.startswith("ring") for a, _ in pairs)


def test_short_answers_prove_nothing():
    short = "def double(x):\n    return 2 * x\n"
    assert found(own("ada", short), own("bob", short)) == []


def test_files_that_cannot_be_read_and_broken_code_disturb_nothing():
    broken = own("cem", "def double(:\n  '''never closed\n" + "(" * 300)
    unread = make_submission("dora", problem="no notebook")
    assert found(own("ada", BODY), own("bob", RENAMED), broken, unread) == [("ada", "bob")]
    assert similarity(MANIFEST, []) == []


def test_the_marks_cover_the_copied_lines_and_no_others():
    mixed = scribble(5) + "\n\n" + BODY.replace("def double", "def helper")
    (pair,) = similarity(MANIFEST, [own("ada", BODY), own("bob", mixed)])
    (block,) = pair.blocks_b
    marked = "".join(block.source[low:high] for low, high in block.marks)
    assert "for index, value in enumerate" in marked and "return np.asarray(doubled)" in marked
    assert block.marks[0][0] >= len(scribble(5)) - 40


def test_results_do_not_depend_on_the_order_or_the_run(tmp_path):
    subs = [own(f"s{i}", scribble(i) + BODY * (i % 3 == 0)) for i in range(9)]
    forward = similarity(MANIFEST, subs, threshold=0.2)
    backward = similarity(MANIFEST, subs[::-1], threshold=0.2)
    assert forward == backward and len(forward) == 3
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_similarity import *\n"
        "subs = [own(f's{i}', scribble(i) + BODY * (i % 3 == 0)) for i in range(9)]\n"
        "pairs = similarity(MANIFEST, subs, threshold=0.2)\n"
        "print([(p.a, p.b, p.amount, round(p.share, 9)) for p in pairs])"
    )
    run = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin", "MPLCONFIGDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert run[0] == run[1] and run[0].count("s") > 5


def test_wrong_thresholds_are_refused():
    with pytest.raises(ValueError, match="threshold 1.5 is no share"):
        similarity(MANIFEST, [], threshold=1.5)
    with pytest.raises(ValueError, match="passage 3 is too short"):
        similarity(MANIFEST, [], passage=3)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_shows_passages_side_by_side_as_a_hint(tmp_path):
    subs = [own("ada", BODY), own("bob", RENAMED)]
    path = write_similarity(MANIFEST, similarity(MANIFEST, subs), tmp_path / "s.html", compared=2)
    soup = assert_harmless(path.read_text(encoding="utf-8"))
    text = " ".join(soup.get_text(" ").split())
    assert "This is a hint, not a finding." in text and "2 submissions compared, 1 pair" in text
    left, right = soup.select(".sides pre")
    assert "for index, value" in left.mark.text and "for k, v" in right.mark.text


def test_no_pair_is_a_page_too(tmp_path):
    path = write_similarity(MANIFEST, [], tmp_path / "s.html", compared=0)
    assert "No pair is above the thresholds." in assert_harmless(path.read_text()).text


def test_anonymous_pages_name_nobody(tmp_path):
    subs = [
        own("ada.lovelace", "# ada.lovelace\n" + BODY),
        own("bob.smith", "# bob.smith\n" + BODY),
    ]
    pairs = similarity(MANIFEST, subs)
    path = tmp_path / "s.html"
    write_similarity(MANIFEST, pairs, path, compared=2, anonymous=True, key=KEY)
    html = path.read_text()
    assert_harmless(html)
    assert "lovelace" not in html and "smith" not in html
    assert pages.pseudonym("ada.lovelace", KEY) in html


@settings(max_examples=25, deadline=None)
@given(TEXT, TEXT)
def test_no_text_gets_through(tmp_path_factory, name, text):
    source = f"{text}\n{BODY}\n'''{text}'''"
    subs = [own("ada", source), own(name, source)]
    pairs = similarity(MANIFEST, subs, threshold=0.1)
    path = tmp_path_factory.mktemp("similar") / "s.html"
    assert_harmless(write_similarity(MANIFEST, pairs, path, compared=2).read_text("utf-8"))


def test_three_hundred_submissions_take_seconds(record_property):
    """CPU-seconds of the comparison itself; the bar is 60."""
    import time

    crowd = [
        own(f"s{i:03d}", "\n".join(scribble(20 * i + k) for k in range(5))) for i in range(300)
    ]
    start = time.process_time()
    pairs = found(*crowd, own("copycat", crowd[7].cells[0].source.replace("a", "zz")))
    seconds = time.process_time() - start
    record_property("cpu_seconds", seconds)
    assert pairs[0] == ("copycat", "s007") and seconds < 60
