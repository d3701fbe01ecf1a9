"""The class report: right numbers, for any size of class, on a harmless page."""

import base64
import json
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_kit import (
    CANARY,
    MANIFEST,
    TEXT,
    assert_harmless,
    invalid,
    make_manifest,
    make_result,
    make_submission,
)
from PIL import Image
from scipy.stats import pointbiserialr

from autograder import pages
from autograder.model import Flag, Verdict
from autograder.report import LEAST, Spread, discrimination, summarise, write_report

KEY = bytes(range(32))
NAMER = pages.Namer()


def make_class(n, seed=0):
    """Results of ``n`` students whose strength decides what they pass."""
    rng = np.random.default_rng(seed)
    results = []
    for index in range(n):
        strength = rng.normal()
        passed = (strength + rng.normal(size=3) > [-1.0, 0.0, 0.5]).tolist()
        messages = [f"message {rng.integers(2)}" for _ in range(3)]
        submission = make_submission(f"s{index:04d}")
        made = make_result(submission, passed=passed, messages=messages, cpu_seconds=0.01 * index)
        results.append(made)
    return results


def shown(folder, results, **options):
    path = write_report(MANIFEST, results, folder, **options)
    html = path.read_text(encoding="utf-8")
    data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return assert_harmless(html, pictures="data:image/png" in html), data, html


@pytest.mark.parametrize("n", [1, 2, 40, 2000])
def test_any_size_of_class(tmp_path, n):
    soup, data, html = shown(tmp_path, make_class(n))
    assert data["n"] == n and sum(count for _, _, count in data["bins"]) == n
    assert sum(data["verdicts"].values()) == n
    pictures = soup.find_all("img")
    assert len(pictures) >= 2 and all(len(picture["alt"]) > 30 for picture in pictures)
    for picture in [*pictures, *soup.find_all("source")]:
        uri = picture.get("src") or picture["srcset"]
        image = Image.open(BytesIO(base64.b64decode(uri.partition("base64,")[2])))
        assert image.width > 500 and len(set(image.convert("L").tobytes())) > 10, "an empty picture"
    assert len(html) < 1_000_000


def test_no_results_yet(tmp_path):
    path = write_report(MANIFEST, [], tmp_path)
    text = assert_harmless(path.read_text(), pictures=True).get_text(" ")
    assert "There are no results yet" in text and "double-check-1" in text
    assert json.loads((tmp_path / "report.json").read_text())["points"]["mean"] is None


def test_the_numbers_are_the_classes(tmp_path):
    results = make_class(60)
    soup, data, _ = shown(tmp_path, results)
    points = np.array([result.points for result in results])
    assert data["points"]["mean"] == pytest.approx(points.mean())
    assert data["points"]["sd"] == pytest.approx(points.std(ddof=1))
    assert data["seconds"]["p95"] == pytest.approx(np.percentile(0.01 * np.arange(60), 95))
    for index, item in enumerate(data["items"]):
        passed = np.array([result.checks[index].verdict is Verdict.AC for result in results])
        rest = points - np.array([result.checks[index].points for result in results])
        assert item["share_passed"] == pytest.approx(passed.mean())
        assert item["discrimination"] == pytest.approx(pointbiserialr(passed, rest).statistic)
        said = [r.checks[index].message for r in results if r.checks[index].message]
        assert dict(map(tuple, item["messages"])) == {text: said.count(text) for text in set(said)}
    rows = [" ".join(row.get_text(" ").split()) for row in soup.select("tr")]
    (row,) = [row for row in rows if row.startswith("sum sum-1")]
    assert f"{data['items'][2]['discrimination']:.2f} n = 60" in row


def test_the_table_behind_the_histogram_has_its_numbers(tmp_path):
    results = [make_result(make_submission(f"s{i}"), passed=[i > 0, i > 1, True]) for i in range(4)]
    soup, data, _ = shown(tmp_path, results)
    table = soup.find("caption", string=re.compile("Students by points")).parent
    rows = [[cell.text for cell in row.find_all(["th", "td"])] for row in table.select("tbody tr")]
    assert rows == [["1", "1"], ["2", "1"], ["4", "2"]]
    assert [tuple(entry) for entry in data["bins"] if entry[2]] == [(1, 2, 1), (2, 3, 1), (4, 5, 2)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=LEAST, max_size=80))
@settings(max_examples=150, deadline=None)
def test_discrimination_is_a_correlation_or_says_why_not(pairs):
    passed, rest = [p for p, _ in pairs], [float(r) for _, r in pairs]
    value, why = discrimination(passed, rest)
    assert (value is None) == bool(why)
    if value is not None:
        assert -1.000001 <= value <= 1.000001
        assert value == pytest.approx(pointbiserialr(passed, rest).statistic, abs=1e-9)
    else:
        assert min(sum(passed), len(passed) - sum(passed)) < 3 or len(set(rest)) == 1


def test_discrimination_is_not_given_for_small_classes():
    assert discrimination([True, False] * 9, list(range(18))) == (None, "n = 18, fewer than 20")
    assert discrimination([True] * 30, list(range(30)))[1] == "fewer than 3 failed"
    assert discrimination([True] * 2 + [False] * 28, [1.0] * 30)[1] == "fewer than 3 passed"
    assert discrimination([True] * 15 + [False] * 15, [1.0] * 30)[1] == (
        "all have the same other points"
    )


def test_files_that_were_not_read_say_nothing_about_a_check():
    _, unread = invalid("dora", "no notebook")
    broken = replace(
        make_result(make_submission("eve"), passed=[False] * 3), verdict=Verdict.INTERNAL
    )
    good = make_result(make_submission("ada"))
    report = summarise(MANIFEST, [unread, broken, good], NAMER)
    assert report.n == 3 and all((item.n, item.passed) == (1, 1) for item in report.items)
    assert report.points == Spread.of([0.0, 4.0]) and report.seconds.n == 1
    assert report.unread == ["dora"] and report.look_at == ["eve"]


def test_lists_for_staff(tmp_path):
    ada = make_submission("ada", flags=[Flag.SUSPICIOUS, Flag.LATE])
    bob = make_submission("bob", flags=[Flag.LATE])
    results = [make_result(ada, manual=1.0), make_result(bob)]
    soup, data, _ = shown(tmp_path, results)
    assert data["suspicious"] == ["ada"] and data["late"] == ["ada", "bob"]
    assert data["questions"] == [
        {"id": "why", "max_points": 2.0, "n": 2, "waiting": 1, "mean": 1.0}
    ]
    text = " ".join(soup.get_text(" ").split())
    assert "Suspicious (1)" in text and "Late (2) ada, bob" in text
    assert "1 answers wait for a person" in text


def test_long_lists_are_cut_on_the_page_and_whole_in_the_file(tmp_path):
    results = [make_result(make_submission(f"s{i:03d}", flags=[Flag.LATE])) for i in range(310)]
    soup, data, _ = shown(tmp_path, results)
    assert len(data["late"]) == 310 and "and 10 more" in soup.get_text(" ")


def test_results_of_another_stage_or_manifest(tmp_path):
    result = make_result(make_submission())
    with pytest.raises(ValueError, match="'09_other', not of '02_small'"):
        write_report(MANIFEST, [replace(result, stage="09_other")], tmp_path)
    other = make_manifest([("double-check-1", "double", 9.0)])
    soup, data, _ = shown(
        tmp_path, [result, make_result(make_submission("bob"), manifest=other, passed=[True])]
    )
    assert data["other_manifests"] == 1 and "1 of 2 results were graded with another" in soup.text


def test_anonymous_reports_name_nobody(tmp_path):
    submission = make_submission("ada.lovelace", flags=[Flag.LATE])
    result = make_result(submission, passed=[False] * 3, messages=["ada.lovelace: no"] * 3)
    soup, data, html = shown(tmp_path, [result], anonymous=True, key=KEY)
    assert "lovelace" not in html + json.dumps(data)
    assert data["late"] == [pages.pseudonym("ada.lovelace", KEY)]
    with pytest.raises(ValueError, match="need a key"):
        write_report(MANIFEST, [result], tmp_path, anonymous=True)


def test_hidden_source_in_a_message_is_not_shown(tmp_path):
    result = make_result(make_submission(), passed=[False] * 3, messages=[f"at\n{CANARY}", "fine"])
    _, data, html = shown(tmp_path, [result])
    assert "canary" not in html + json.dumps(data) and "fine" in html


@settings(max_examples=6, deadline=None)
@given(st.lists(TEXT, min_size=3, max_size=3))
def test_no_text_gets_through(tmp_path_factory, texts):
    name, message, title = (text.encode("utf-8", "replace").decode() for text in texts)
    submission = make_submission(name, flags=[Flag.SUSPICIOUS])
    result = make_result(submission, passed=[False] * 3, messages=[message] * 3)
    folder = tmp_path_factory.mktemp("report")
    path = write_report(MANIFEST, [result], folder, stage_title=title, course_title=title)
    assert_harmless(path.read_text(encoding="utf-8"), pictures=True)
    json.loads((folder / "report.json").read_text(encoding="utf-8"))
