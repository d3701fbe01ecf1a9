"""What another grading would change: complete, ordered, explained, and written nowhere else."""

import csv
from dataclasses import replace

import pytest
from pages_kit import MANIFEST, PAYLOADS, make_manifest, make_result, make_submission
from rich.console import Console

from autograder.model import ManualResult, Verdict
from autograder.regrade import as_table, diff, read_results, write_changes


def result_of(student, **options):
    return make_result(make_submission(student), **options)


def printed(changes, **options):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(as_table(changes, **options))
    return console.export_text()


def test_equal_results_change_nothing():
    old = [result_of("ada"), result_of("bob", passed=[False] * 3)]
    new = [replace(result, cpu_seconds=9.0, peak_memory_mb=1.0) for result in reversed(old)]
    assert diff(old, new) == []
    assert "nothing would change" in printed([])


def test_points_that_move_come_first_with_the_reason():
    fixed = replace(MANIFEST, prelude=["import numpy as np\nGRADING_SEED = 2"])
    old = [
        result_of("ada", passed=[True, False, True], messages=["too strict"]),
        result_of("bob", passed=[True, True, True]),
        result_of("cem", passed=[False, True, True], messages=["old words"]),
    ]
    new = [
        result_of("ada", passed=[True, True, True], manifest=fixed),
        result_of("bob", passed=[True, True, False], manifest=fixed, messages=["now caught"]),
        result_of("cem", passed=[False, True, True], manifest=fixed, messages=["new words"]),
    ]
    changes = diff(old, {result.student: result for result in new})
    assert [(c.student, c.kind, c.difference) for c in changes] == [
        ("ada", "points", 2.0),
        ("bob", "points", -1.0),
        ("cem", "message", 0.0),
    ]
    (check,) = changes[0].checks
    assert (check.id, check.old_points, check.new_points) == ("double-check-2", 0.0, 2.0)
    assert (check.old, check.new) == ("WA: too strict", "AC")
    assert changes[0].reasons == [f"another manifest ({MANIFEST.digest[:8]} → {fixed.digest[:8]})"]
    text = printed(changes)
    assert "2 of 3 changes shown: 1 gain points, 1 lose points" in text
    assert "WA: now caught" in text and "new words" not in text
    assert "WA: new words" in printed(changes, everything=True)


def test_a_verdict_may_change_without_points():
    old = result_of("ada", passed=[False] * 3, verdict=Verdict.WA)
    new = result_of("ada", passed=[False] * 3, verdict=Verdict.TLE)
    (change,) = diff([old], [new])
    assert change.kind == "verdict" and (change.old_verdict, change.new_verdict) == ("WA", "TLE")
    assert change.reasons == ["the same file, manifest and seed: look at the checks"]


def test_points_that_only_move_between_checks_are_told():
    three = make_manifest([("a", "double", 1.0), ("b", "double", 1.0), ("c", "sum", 1.0)])
    old = result_of("ada", manifest=three, passed=[True, False, True])
    new = result_of("ada", manifest=three, passed=[False, True, True])
    (change,) = diff([old], [new])
    assert change.kind == "points" and change.difference == 0 and len(change.checks) == 2


def test_files_seeds_checks_and_students_that_come_and_go():
    other = make_manifest([("double-check-1", "double", 5.0)])
    ada = make_submission("ada", cells=[("double", "pass")])
    old = [result_of("ada"), result_of("gone")]
    new = [make_result(ada, manifest=other, passed=[True], seed=2), result_of("new")]
    by_name = {change.student: change for change in diff(old, new)}
    assert by_name["gone"].kind == "gone" and by_name["gone"].new_points is None
    assert by_name["new"].kind == "new" and by_name["new"].difference == 4.0
    reasons = " ".join(by_name["ada"].reasons)
    for word in ("another file", "another manifest", "another seed (1 → 2)", "(4 → 5)"):
        assert word in reasons
    assert [c.new for c in by_name["ada"].checks if c.new_points is None] == ["not there"] * 2


def test_manual_points_count():
    old = result_of("ada", manual=2.0)
    (change,) = diff([old], [replace(old, manual=[ManualResult("why", 2.0, None)])])
    assert change.difference == -2.0 and change.checks[0].new == "not graded yet"


def test_the_table_prints_no_command_and_no_markup():
    old = result_of(
        "ada", passed=[False] * 3, messages=["[bold red]x[/] " + p for p in PAYLOADS[13:16]]
    )
    new = result_of("ada", passed=[True] * 3)
    text = printed(diff([old], [new]))
    assert "[bold red]x[/]" in text and "\x1b" not in text
    assert not any(line.strip(" │").startswith("::") for line in text.splitlines())


def test_the_csv_has_a_row_per_check(tmp_path):
    old = [result_of("ada", passed=[False, False, True], messages=["=1+1", "b"]), result_of("gone")]
    path = write_changes(diff(old, [result_of("ada")]), tmp_path / "changes.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["student"], r["check"], r["difference"]) for r in rows] == [
        ("gone", "", "-4"),
        ("ada", "double-check-1", "3"),
        ("ada", "double-check-2", "3"),
    ]
    assert rows[1]["check_old"] == "WA: =1+1" and rows[1]["check_new"] == "AC"


def test_results_are_read_checked_and_left_alone(tmp_path):
    for student in ("bob", "ada"):
        (tmp_path / f"{student}.json").write_text(result_of(student).to_json(), encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    results = read_results(tmp_path)
    assert [result.student for result in results] == ["ada", "bob"]
    diff(results, [result_of("ada", passed=[False] * 3)])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    changed = (tmp_path / "ada.json").read_text().replace('"points": 4.0', '"points": 400.0')
    (tmp_path / "ada.json").write_text(changed)
    with pytest.raises(ValueError, match="ada.json is no result .* was changed"):
        read_results(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        read_results(tmp_path / "nowhere")


def test_two_results_of_one_student_are_refused():
    with pytest.raises(ValueError, match="two results of 'ada'"):
        diff([result_of("ada"), result_of("ada")], [])
