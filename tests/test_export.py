"""Points as CSV: the platforms' columns, safe cells, typed numbers, and nobody lost."""

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pages_kit import PAYLOADS, make_manifest, make_result, make_submission

from autograder.export import (
    CELL_LENGTH,
    FORMULA,
    Roster,
    cell,
    csv_text,
    export,
    text_cell,
    write_csv,
)
from autograder.model import Flag, Verdict

CANVAS_EXPORT = """Student,ID,SIS User ID,SIS Login ID,Section,Old (7)
    Points Possible,,,,,10
"King, Ada",501,u-1,ada,"Course, A",9
"Smith, Bob",502,u-2,bob@example.org,Course B,
"Student, Test",503,,x,Course B,
"""
WORKSHEET = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Last modified (grade)
Participant 17,Ada King,ada,Submitted,,6.00,-
Participant 18,Bob Smith,bob@example.org,Submitted,,6.00,-
"""


def result_of(student, manual=2.0, passed=(True, True, False), **options):
    return make_result(make_submission(student, **options), passed=passed, manual=manual)


def read(path):
    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


def roster(tmp_path, text):
    path = tmp_path / "roster.csv"
    path.write_bytes(("\ufeff" + text).encode())
    return path


# --- cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", list("=+-@\t\r") + [" =", "\n+", "\uff1d", "\uff0b"])
def test_no_text_begins_a_formula(start):
    assert text_cell(start + "cmd|'/c calc'!A1").startswith("'")


@pytest.mark.parametrize("text", ["ada", "a=b", "3 + 4", "'quoted'", "你好", ""])
def test_other_text_stays_as_it_is(text):
    assert text_cell(text) == text


@settings(deadline=None)
@given(st.lists(st.lists(st.one_of(st.text(), st.sampled_from(PAYLOADS), st.none(),
       st.integers(-1000, 1000), st.floats(-1e6, 1e6).map(lambda x: round(x, 4))),
       min_size=1, max_size=5), max_size=5))  # fmt: skip
@example([["a,b", 'say "x"', "two\nlines", "two\r\nlines", "=1+1", 0.5, 2, None]])
def test_cells_survive_the_csv_module(rows):
    back = list(csv.reader(io.StringIO(csv_text(rows), newline=""), quoting=csv.QUOTE_NONNUMERIC))
    assert len(back) == len(rows)
    for row, found in zip(rows, back, strict=True):
        for value, got in zip(row, found, strict=True):
            if isinstance(value, str):
                assert got == cell(value) and isinstance(got, str)
                assert not FORMULA.match(got)
                plain = value.isprintable() and len(value) <= CELL_LENGTH
                assert not plain or got in (value, "'" + value)
            elif value is None:
                assert got == ""
            else:
                assert isinstance(got, float) and got == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_points_that_are_no_number_are_refused(value):
    with pytest.raises(ValueError, match="is no number of points"):
        cell(value)


def test_excel_knows_the_encoding_by_the_mark(tmp_path):
    path = write_csv(tmp_path / "x.csv", [["Zoë", 1]], bom=True)
    assert path.read_bytes() == b"\xef\xbb\xbf" + '"Zoë",1\r\n'.encode()
    assert write_csv(path, [["a"]]).read_bytes() == b'"a"\r\n'


# --- formats --------------------------------------------------------------------------------------


def test_the_plain_table_has_everything(tmp_path):
    results = [result_of("bob", manual=None), result_of("ada", flags=[Flag.LATE])]
    done = export(results, "csv", tmp_path / "p.csv")
    header, ada, bob = read(done.path)
    row = dict(zip(header, ada, strict=True))
    assert (row["student"], row["points"], row["manual_points"], row["total"]) == (
        "ada",
        "3",
        "2",
        "5",
    )
    assert (row["late"], row["flags"], row["double-check-2"], row["why"]) == (
        "yes",
        "LATE",
        "2",
        "2",
    )
    row = dict(zip(header, bob, strict=True))
    assert (row["total"], row["manual_waiting"], row["why"], row["late"]) == ("", "1", "", "no")
    assert done.pending == ["bob"] and done.rows == 2 and not done.unknown


def test_canvas_gets_its_columns_and_the_row_of_points(tmp_path):
    path = roster(tmp_path, CANVAS_EXPORT)
    results = [result_of("ada"), result_of("bob@example.org", manual=None), result_of("eve")]
    done = export(results, "canvas", tmp_path / "c.csv", roster=path, assignment="Stage 3 (4711)")
    header, possible, ada, bob, eve = read(done.path)
    # gradebook_importer.rb: row[0] has "Student", row[1] "ID", SIS ids next, "Section" last
    assert header == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Stage 3 (4711)"]
    assert "Points Possible" in possible[0] and possible[5] == "6" and possible[1:5] == [""] * 4
    assert ada == ["King, Ada", "501", "u-1", "ada", "Course, A", "5"]
    assert bob == ["Smith, Bob", "502", "u-2", "bob@example.org", "Course B", ""]
    assert eve[:4] == ["eve", "", "", "eve"]
    assert done.unknown == ["eve"] and done.pending == ["bob@example.org"] and done.rows == 3
    assert done.missing == ["Student, Test"]


def test_moodles_own_worksheet_comes_back_filled(tmp_path):
    path = roster(tmp_path, WORKSHEET)
    done = export([result_of("ada"), result_of("eve")], "moodle", tmp_path / "m.csv", roster=path)
    header, ada = read(done.path)
    # importgradeslib.php wants these three columns as they were
    assert {"Identifier", "Grade", "Last modified (grade)"} <= set(header)
    assert dict(zip(header, ada, strict=True)) == {
        "Identifier": "Participant 17",
        "Full name": "Ada King",
        "Email address": "ada",
        "Status": "Submitted",
        "Grade": "5",
        "Maximum Grade": "6.00",
        "Last modified (grade)": "'-",
    }
    assert done.unknown == ["eve"] and done.missing == ["Bob Smith"] and done.rows == 1


def test_moodles_gradebook_finds_users_by_number_or_address(tmp_path):
    rows = [{"username": "ada", "ID number": "77", "Email address": "ada@example.org"}]
    done = export(
        [result_of("ada"), result_of("bob@example.org")], "moodle", tmp_path / "m.csv", roster=rows
    )
    header, ada, bob = read(done.path)
    assert header == ["Username", "ID number", "Email address", "Full name", "02_small (of 6)"]
    assert ada == ["ada", "77", "ada@example.org", "", "5"]
    assert bob[2] == "bob@example.org"


def test_gradescopes_form_has_a_column_for_each_part(tmp_path):
    rows = [{"First Name": "Ada", "Last Name": "King", "SID": "ada", "Email": "a@example.org"}]
    done = export([result_of("ada")], "gradescope", tmp_path / "g.csv", roster=rows)
    header, ada = read(done.path)
    assert header[:8] == [
        *("First Name", "Last Name", "SID", "Email", "Sections"),
        *("Total Score", "Max Points", "Status"),
    ]
    assert header[11:] == [
        *("1: double-check-1 (1 pts)", "2: double-check-2 (2 pts)", "3: sum-1 (1 pts)"),
        "4: why (2 pts)",
    ]
    assert ada[:8] == ["Ada", "King", "ada", "a@example.org", "", "5", "6", "Graded"]
    assert ada[11:] == ["1", "2", "0", "2"]


@pytest.mark.parametrize("verdict", [Verdict.INTERNAL, Verdict.NEEDS_HUMAN])
def test_points_that_are_not_final_are_left_empty(tmp_path, verdict):
    results = [replace(result_of("ada"), verdict=verdict)]
    done = export(results, "canvas", tmp_path / "c.csv")
    assert done.pending == ["ada"] and read(done.path)[2][5] == ""
    done = export(results, "canvas", tmp_path / "c.csv", provisional=True)
    assert not done.pending and read(done.path)[2][5] == "5"


def test_provisional_counts_what_waits_as_nothing(tmp_path):
    done = export([result_of("ada", manual=None)], "canvas", tmp_path / "c.csv", provisional=True)
    assert read(done.path)[2][5] == "3" and not done.pending


def test_names_with_everything_in_them_stay_in_their_cells(tmp_path):
    names = ['O"Neill, A', "two\nlines", "=HYPERLINK(1)", "Zoë 😀", "-x", "a;b\tc"]
    rows = [{"student": f"s{i}", "name": name} for i, name in enumerate(names)]
    results = [result_of(f"s{i}") for i in range(len(names))]
    done = export(results, "csv", tmp_path / "p.csv", roster=rows)
    found = [row[1] for row in read(done.path)[1:]]
    assert found == ['O"Neill, A', "two\nlines", "'=HYPERLINK(1)", "Zoë 😀", "'-x", "a;b\tc"]


@pytest.mark.parametrize("fmt", ["csv", "canvas", "moodle", "gradescope"])
def test_no_result_is_a_file_with_a_header(tmp_path, fmt):
    done = export([], fmt, tmp_path / "x.csv")
    assert done.rows == 0 and len(read(done.path)) == (2 if fmt == "canvas" else 1)


# --- errors ---------------------------------------------------------------------------------------


def test_wrong_calls_say_what_to_do(tmp_path):
    path = tmp_path / "x.csv"
    with pytest.raises(ValueError, match="unknown format 'xls': use csv, canvas"):
        export([], "xls", path)
    with pytest.raises(ValueError, match="two results of 'ada'"):
        export([result_of("ada"), result_of("ada")], "csv", path)
    with pytest.raises(ValueError, match="several stages .*one at a time"):
        export([result_of("ada"), replace(result_of("bob"), stage="09_other")], "csv", path)
    with pytest.raises(ValueError, match="no column with the students' ids .*colour"):
        export([], "csv", path, roster=[{"colour": "red"}])
    with pytest.raises(ValueError, match="is empty"):
        export([], "csv", path, roster=roster(tmp_path, ""))
    assert not path.exists()


def test_an_id_that_could_be_two_people_is_nobody(tmp_path):
    """Canvas' own number of one student may be the student number of another."""
    rows = [{"student": "x", "ID": "42"}, {"student": "y", "sid": "42"}]
    done = export([result_of("42"), result_of("x")], "canvas", tmp_path / "c.csv", roster=rows)
    assert done.unknown == ["42"]
    assert "42" not in Roster.of(rows).find()


def test_results_of_different_checks_share_a_table(tmp_path):
    other = make_manifest([("new-check", "double", 3.0)])
    results = [result_of("ada"), make_result(make_submission("bob"), manifest=other, passed=[True])]
    header, ada, bob = read(export(results, "csv", tmp_path / "p.csv").path)
    at = header.index("new-check")
    assert ada[at] == "" and bob[at] == "3" and bob[header.index("sum-1")] == ""
