"""Intake: what arrives becomes one submission for every student, and nothing stops the others."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from corpus_kit import HONEST, STAGE, answered, manifest, released, to_bytes
from course_kit import Course
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder.intake import Caps, IntakeError, collect, missing_students, submission_of
from autograder.intake.files import escaped, safe_parts, walk
from autograder.intake.notebook import NotebookProblem, read
from autograder.intake.people import Roster, as_time, safe_id
from autograder.manifest import Manifest, build
from autograder.model import STUDENT_ID, Flag, Submission

MANIFEST = manifest()
GOOD = to_bytes(answered())
STUB = to_bytes(released())


def put(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def one(source: Path, **options: Any) -> Submission:
    (submission,) = collect(source, MANIFEST, **options)
    return submission


def of(notebook: NotebookNode | bytes) -> Submission:
    data = notebook if isinstance(notebook, bytes) else to_bytes(notebook)
    return submission_of(data, MANIFEST, "mallory")


def ids(submission: Submission) -> list[str]:
    return [cell.id for cell in submission.cells]


def source_of(submission: Submission, cell_id: str) -> str:
    return next(cell.source for cell in submission.cells if cell.id == cell_id)


def students(source: Path, **options: Any) -> list[str]:
    found = collect(source, MANIFEST, **options)
    assert all(s.problem is None for s in found), [s.problem for s in found]
    assert all(ids(s) == ["q1", "q2"] for s in found)
    return [s.student for s in found]


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """A test that blocks fails instead."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- sources ---------------------------------------------------------------------------------

MOODLE = "Ana Pérez_1234567_assignsubmission_file_"
LAYOUTS: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "one file each": ({"alice.ipynb": GOOD, "bob.ipynb": GOOD}, ["alice", "bob"]),
    "one folder each": (
        {"alice/x.ipynb": GOOD, "bob/deep/er/p1 (1).IPYNB": GOOD},
        ["alice", "bob"],
    ),
    "nbgrader": (
        {
            f"submitted/alice/{STAGE}/{STAGE}.ipynb": GOOD,
            f"submitted/alice/{STAGE}/timestamp.txt": b"2020-01-01",
            "submitted/alice/03_xor_backprop/03_xor_backprop.ipynb": b"{}",
            f"submitted/bob/{STAGE}/{STAGE}.ipynb": GOOD,
            "submitted/eve/03_xor_backprop/03_xor_backprop.ipynb": b"{}",
            "submitted/fay/03_xor_backprop/data.csv": b"1",
        },
        ["alice", "bob"],
    ),
    "moodle in folders": (
        {
            f"{MOODLE}/{STAGE}.ipynb": GOOD,
            "Bo Li_7654321_assignsubmission_file_/p.ipynb": GOOD,
            "Bo Li_7654321_assignsubmission_onlinetext_/onlinetext.html": b"<p>done</p>",
        },
        ["Ana-Perez_1234567", "Bo-Li_7654321"],
    ),
    "moodle without folders": (
        {f"{MOODLE}{STAGE}.ipynb": GOOD, "Bo Li_7654321_assignsubmission_file_p.ipynb": GOOD},
        ["Ana-Perez_1234567", "Bo-Li_7654321"],
    ),
    "canvas": (
        {
            "perezana_12345_67890_90_pairs.ipynb": GOOD,
            "libo_LATE_12346_67891_my_work-2.ipynb": GOOD,
        },
        ["libo_12346", "perezana_12345"],
    ),
    "leftovers": (
        {
            "alice/x.ipynb": GOOD,
            "__MACOSX/alice/._x.ipynb": b"\x00\x05",
            "alice/.ipynb_checkpoints/x-checkpoint.ipynb": STUB,
            "alice/._x.ipynb": b"\x00\x05",
            ".DS_Store": b"x",
            "grades.csv": b"a,b",
        },
        ["alice"],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_in_a_folder(name: str, tmp_path: Path) -> None:
    contents, expected = LAYOUTS[name]
    assert students(put(tmp_path / "in", contents)) == expected


def test_the_platforms_names_are_noted_for_the_way_back(tmp_path: Path) -> None:
    for name in ("moodle in folders", "moodle without folders"):
        found = collect(put(tmp_path / name, LAYOUTS[name][0]), MANIFEST)
        assert f"the platform's name is '{MOODLE}'" in found[0].notes
    found = collect(put(tmp_path / "canvas", LAYOUTS["canvas"][0]), MANIFEST)
    assert "the platform's name is 'libo_LATE_12346_67891_my_work-2.ipynb'" in found[0].notes


def zip_bytes(contents: dict[str, bytes], **options: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as made:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, (2026, 3, 1, 12, 0, 0))
            entry.compress_type = made.compression
            made.writestr(entry, data)
    return stream.getvalue()


def tar_bytes(contents: dict[str, bytes], mode: str, mtime: float = 0) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as made:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), mtime
            made.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "all.zip": zip_bytes,
    "all.tar": lambda c: tar_bytes(c, "w"),
    "all.tar.gz": lambda c: tar_bytes(c, "w:gz"),
    "all.tar.bz2": lambda c: tar_bytes(c, "w:bz2"),
    "all.tar.xz": lambda c: tar_bytes(c, "w:xz"),
    "all.tgz": lambda c: tar_bytes(c, "w:gz"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("archive", PACKERS)
def test_layouts_in_an_archive(name: str, archive: str, tmp_path: Path) -> None:
    contents, expected = LAYOUTS[name]
    path = tmp_path / archive
    path.write_bytes(PACKERS[archive](contents))
    before = sorted(tmp_path.rglob("*"))
    assert students(path) == expected
    assert sorted(tmp_path.rglob("*")) == before  # nothing is ever extracted


def test_a_zip_that_holds_a_folder_of_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "week3.zip"
    path.write_bytes(zip_bytes({"week3/alice/a.ipynb": GOOD, "week3/bob/b.ipynb": GOOD}))
    assert students(path) == ["alice", "bob"]
    path.write_bytes(zip_bytes({"alice/a.ipynb": GOOD}))
    assert students(path) == ["alice"]  # a single student's folder is no wrapper


def test_a_single_notebook(tmp_path: Path) -> None:
    put(tmp_path, {"alice.ipynb": GOOD, f"submitted/bob/{STAGE}/{STAGE}.ipynb": GOOD})
    assert one(tmp_path / "alice.ipynb").student == "alice"
    assert one(tmp_path / "submitted" / "bob" / STAGE / f"{STAGE}.ipynb").student == "bob"


GRADESCOPE = """\
submission_101:
  :submitters:
  - :name: Ana Pérez
    :sid: 's100'
    :email: ana@example.org
  :created_at: 2026-05-01 10:00:00.123456000 Z
  :score: 0.0
  :history:
  - :id: 99
    :created_at: 2026-04-30 09:00:00.000000000 Z
submission_102:
  :submitters:
  - :name: Bo Li
    :email: bo@example.org
  - :name: Cy Doe
    :sid: 's102'
  :created_at: 2026-05-03 10:00:00.000000000 Z
submission_103:
  :submitters:
  - :name: Di Fox
    :sid: 's103'
  :created_at: 2026-05-01 10:00:00.000000000 Z
"""


@pytest.mark.parametrize("archive", [None, "all.zip", "all.tar.gz"])
def test_gradescope(archive: str | None, tmp_path: Path) -> None:
    contents = {
        "assignment_9_export/submission_metadata.yml": GRADESCOPE.encode(),
        "assignment_9_export/submission_101/a.ipynb": GOOD,
        "assignment_9_export/submission_101/timestamp.txt": b"1999",
        "assignment_9_export/submission_102/b.ipynb": GOOD,
    }
    source = put(tmp_path / "in", contents)
    if archive:
        source = tmp_path / archive
        source.write_bytes(PACKERS[archive](contents))
    due = datetime(2026, 5, 2, tzinfo=UTC)
    found = {s.student: s for s in collect(source, MANIFEST, due=due)}
    assert set(found) == {"s100", "bo@example.org", "s102", "s103"}
    assert found["s100"].received == "2026-05-01T10:00:00+00:00"
    assert Flag.LATE not in found["s100"].flags
    assert Flag.LATE in found["s102"].flags and Flag.LATE in found["bo@example.org"].flags
    assert found["s102"].sha256 == found["bo@example.org"].sha256
    assert "group of 2" in " ".join(found["s102"].notes)
    assert found["s103"].problem == "Nothing was handed in: the folder is empty."


def test_a_broken_export_says_so(tmp_path: Path) -> None:
    put(tmp_path, {"submission_metadata.yml": b"a: [", "submission_1/a.ipynb": GOOD})
    with pytest.raises(IntakeError, match="submission_metadata.yml cannot be read"):
        collect(tmp_path, MANIFEST)


def test_a_student_cannot_speak_for_the_platform(tmp_path: Path) -> None:
    """Names and lists that only platforms make count only where platforms put them."""
    forged = GRADESCOPE.replace("submission_101", "mallory").encode()
    contents = {
        "alice/a.ipynb": GOOD,
        "mallory/submission_metadata.yml": forged,
        "mallory/libo_12346_67891_x.ipynb": GOOD,
        "mallory/Ana_1_assignsubmission_file_/x.ipynb": GOOD,
    }
    assert students(put(tmp_path / "class", contents)) == ["alice", "mallory"]
    del contents["alice/a.ipynb"]
    found = one(put(tmp_path / "alone", contents))
    assert found.student == "mallory" and Flag.EXTRA_FILES in found.flags
    path = tmp_path / "all.zip"
    path.write_bytes(zip_bytes({"mallory.zip": zip_bytes(contents), "zoe.ipynb": GOOD}))
    assert students(path) == ["mallory", "zoe"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("none", None, "does not exist"),
        ("x.zip", b"PK\x03\x04 and no more", "damaged zip archive"),
        ("x.zip", b"no archive", "no zip or tar archive"),
        ("x.tar.gz", tar_bytes({"a.ipynb": os.urandom(9000)}, "w:gz")[:3000], "cut off|damaged"),
        ("x.zip", b"", "is empty"),
    ],
)
def test_a_source_that_cannot_be_read_is_the_callers_business(
    name: str, data: bytes | None, says: str, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(IntakeError, match=says):
        collect(tmp_path / name, MANIFEST)


# --- safety ----------------------------------------------------------------------------------


def test_special_files_do_not_block_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, {"secret.ipynb": GOOD})
    source = put(tmp_path / "in", {"alice.ipynb": GOOD, "bob/x.ipynb": GOOD})
    os.mkfifo(source / "pipe.ipynb")
    os.mkfifo(source / "bob" / "data.csv")
    (source / "mallory").symlink_to(outside)
    (source / "eve.ipynb").symlink_to(outside / "secret.ipynb")
    with no_longer_than(20):
        found = {s.student: s for s in collect(source, MANIFEST)}
    assert found["alice"].problem is None and found["alice"].flags == []
    assert found["bob"].problem is None and found["bob"].flags == [Flag.SUSPICIOUS]
    assert "is a pipe" in str(found["pipe"].problem)
    for name in ("mallory", "eve"):
        assert "is a link" in str(found[name].problem) and found[name].cells == []
    assert set(found) == {"alice", "bob", "eve", "mallory", "pipe"}


def test_a_file_that_turns_into_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking at a name and opening it, a student could swap the file."""
    source = put(tmp_path / "in", {"alice.ipynb": GOOD, "mallory.ipynb": GOOD})
    secret = put(tmp_path / "out", {"secret.ipynb": GOOD}) / "secret.ipynb"
    really = os.open

    def swap(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("mallory.ipynb"):
            (source / "mallory.ipynb").unlink()
            (source / "mallory.ipynb").symlink_to(secret)
        return really(path, flags, *args, **kwargs)

    monkeypatch.setattr("autograder.intake.files.os.open", swap)
    found = {s.student: s for s in collect(source, MANIFEST)}
    assert found["alice"].problem is None
    assert "cannot be read" in str(found["mallory"].problem)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../x.ipynb", "leads out"),
        ("a/../../x.ipynb", "leads out"),
        ("/x.ipynb", "absolute"),
        ("\\\\server\\x.ipynb", "absolute"),
        ("C:/x.ipynb", "absolute"),
        ("c:x.ipynb", "absolute"),
        ("..\\x.ipynb", "leads out"),
        ("a\\x.ipynb", "backslash"),
        ("a\nb.ipynb", "control"),
        ("a\x7fb.ipynb", "control"),
    ],
)
def test_member_names(name: str, says: str) -> None:
    parts, problem = safe_parts(name)
    assert says in str(problem)
    assert not {"..", ".", ""} & set(parts) and all("/" not in part for part in parts)
    assert safe_parts("work/a b/x (1).ipynb") == (("work", "a b", "x (1).ipynb"), None)


def test_a_bad_member_of_the_class_archive_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    members = {"alice/a.ipynb": GOOD, "../../bob.ipynb": GOOD, "zoe/a.ipynb": GOOD}
    path.write_bytes(zip_bytes(members))
    found = {s.student: s for s in collect(path, MANIFEST)}
    assert found["alice"].problem is None and found["zoe"].problem is None
    assert "leads out" in str(found["bob"].problem)


def locked(data: bytes) -> bytes:
    """A zip archive whose entries say that they are encrypted."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = 0
        while (at := changed.find(signature, at)) >= 0:
            changed[at + offset] |= 1
            at += 4
    return bytes(changed)


def lying(data: bytes) -> bytes:
    """A zip archive whose directory says that the file is much smaller than it is."""
    changed = bytearray(data)
    at = changed.find(b"PK\x01\x02")
    changed[at + 24 : at + 28] = (100).to_bytes(4, "little")
    return bytes(changed)


BIG = b"\x00" * 12 * 2**20
OWN_ARCHIVES: dict[str, tuple[bytes, str]] = {
    "locked": (locked(zip_bytes({"a.ipynb": GOOD})), "locked with a password"),
    "lzma": (zip_bytes({"a.ipynb": GOOD}, compression=zipfile.ZIP_LZMA), "ordinary zip"),
    "lying about sizes": (lying(zip_bytes({"a.ipynb": GOOD})), "damaged"),
    "cut off": (zip_bytes({"a.ipynb": GOOD})[:-30], "damaged zip"),
    "text": (b"hello", "no zip or tar archive"),
    "nothing in it": (zip_bytes({}), "Nothing was handed in"),
    "no notebook in it": (zip_bytes({"answer.py": b"x = 1"}), "No notebook was handed in"),
    "zip bomb": (zip_bytes({"a.ipynb": BIG}), "archive bombs"),
    "gz bomb": (tar_bytes({"a.ipynb": BIG}, "w:gz"), "archive bombs"),
    "bz2 bomb": (tar_bytes({"a.ipynb": BIG}, "w:bz2"), "archive bombs"),
    "xz bomb": (tar_bytes({"a.ipynb": BIG}, "w:xz"), "archive bombs"),
    "bomb beside": (tar_bytes({"a.ipynb": GOOD, "b": BIG}, "w:gz"), "archive bombs"),
    "too many": (zip_bytes({f"{n}.txt": b"" for n in range(2001)}), "more than 2000 entries"),
    "archive inside": (zip_bytes({"b.zip": zip_bytes({"a.ipynb": GOOD})}), "inside an archive"),
    "too deep": (zip_bytes({"d/" * 11 + "a.ipynb": GOOD}), "deeper than 10"),
    "cut off tar": (tar_bytes({"a.ipynb": GOOD}, "w")[:700], "damaged or cut off"),
}


@pytest.mark.parametrize("name", OWN_ARCHIVES)
@pytest.mark.parametrize("in_class_archive", [False, True])
def test_students_own_archives(name: str, in_class_archive: bool, tmp_path: Path) -> None:
    data, says = OWN_ARCHIVES[name]
    contents = {"alice.ipynb": GOOD, "mallory/work.zip": data, "zoe.ipynb": GOOD}
    source = put(tmp_path / "in", contents)
    if in_class_archive:
        source = tmp_path / "all.zip"
        source.write_bytes(zip_bytes(contents))
    found = {s.student: s for s in collect(source, MANIFEST)}
    assert says in str(found["mallory"].problem), found["mallory"]
    assert found["alice"].problem is None and found["zoe"].problem is None


def test_caps_hold_for_files_and_students(tmp_path: Path) -> None:
    padded = GOOD + b" " * 2**20
    source = put(tmp_path, {"alice.ipynb": GOOD, "mallory/a.ipynb": padded, "zoe/a.ipynb": GOOD})
    found = {s.student: s for s in collect(source, MANIFEST, caps=Caps(file_mb=0.5))}
    assert "'a.ipynb' is too large" in str(found["mallory"].problem)
    assert found["alice"].problem is None
    put(tmp_path, {f"mallory/{n}.ipynb": padded for n in "abcd"})
    found = {s.student: s for s in collect(source, MANIFEST, caps=Caps(student_mb=2.5))}
    assert found["mallory"].problem is None and found["zoe"].problem is None
    assert any("too large" in note for note in found["mallory"].notes)
    with pytest.raises(IntakeError, match="more than 3 files"):
        collect(source, MANIFEST, caps=Caps(members=3))


def test_contents_are_only_read_where_they_are_wanted(tmp_path: Path) -> None:
    put(tmp_path, {"a/x.ipynb": b"1", "a/y.csv": b"2", "a/z.zip": zip_bytes({"b.ipynb": b"3"})})
    found = {item.path: item.data for item in walk(tmp_path, Caps())}
    assert found == {
        ("a", "x.ipynb"): b"1",
        ("a", "y.csv"): None,
        ("a", "z.zip", "b.ipynb"): b"3",
    }


# --- students --------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=6, unique=True))
def test_ids_are_safe_repeatable_and_different(names: list[str]) -> None:
    made = [safe_id(escaped(name)) for name in names]
    assert all(STUDENT_ID.match(student) for student in made)
    assert made == [safe_id(escaped(name)) for name in names]
    assert len(set(made)) == len(names)


@pytest.mark.parametrize(
    "name", ["alice", "a.b-c_d", "ana+1@example.org", "0042", "x" * 100]
)  # fmt: skip
def test_good_ids_stay(name: str) -> None:
    assert safe_id(name) == name


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "-rf", ".hidden", "con", "NUL.txt", "x" * 101, "ü"]
)
def test_bad_ids_change(name: str) -> None:
    assert safe_id(name) != name and STUDENT_ID.match(safe_id(name))


def test_ids_that_differ_in_case_only_get_different_files(tmp_path: Path) -> None:
    source = put(tmp_path, {"Alice/a.ipynb": GOOD, "alice/a.ipynb": GOOD})
    found = students(source)
    assert len({name.casefold() for name in found}) == 2 and found == students(source)


def test_a_changed_id_is_noted(tmp_path: Path) -> None:
    found = one(put(tmp_path, {"Jürgen K/a.ipynb": GOOD}))
    assert found.student.startswith("Jurgen-K-")
    assert found.notes[0] == f"'Jürgen K' is graded as student '{found.student}'"


ROSTER = """\
Student,ID,SIS Login ID,Email
"Pérez, Ana",12345,aperez,ana@example.org
"Li, Bo",12346,bli,bo@example.org
"Doe, Cy",12347,cdoe,cy@example.org
"""


def test_the_roster_names_students_of_any_platform(tmp_path: Path) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_text(ROSTER, encoding="utf-8-sig")
    source = put(
        tmp_path / "in",
        {
            "Ana Pérez_777_assignsubmission_file_/a.ipynb": GOOD,
            "libo_LATE_12346_99_b.ipynb": GOOD,
            "stranger/a.ipynb": GOOD,
        },
    )
    found = {s.student: s for s in collect(source, MANIFEST, roster=roster)}
    listed = Roster(roster).ids
    assert listed == [safe_id(n) for n in ("Pérez, Ana", "Li, Bo", "Doe, Cy")] or listed
    assert set(found) == {listed[0], listed[1], "stranger"}
    assert found["stranger"].flags == [Flag.UNKNOWN_STUDENT]
    assert found[listed[1]].flags == [Flag.LATE]
    assert missing_students(list(found.values()), roster) == [listed[2]]


@pytest.mark.parametrize(
    ("text", "keys", "expected"),
    [
        ("id,name\ns1,Ana Pérez\ns2,Bo Li\n", ["ana perez"], "s1"),
        ("id;first;last\ns1;Ana;Pérez\n", ["perezana"], "s1"),
        ("student_id\tname\ns1\tPérez, Ana\n", ["Ana Pérez"], "s1"),
        ("email\nana@example.org\n", ["ana"], "ana@example.org"),
        ("id,name\ns1,Bo Li\ns2,Bo Li\n", ["Bo Li"], None),
        ("id,name\ns1,Bo Li\ns2,Bo Li\n", ["s2", "Bo Li"], "s2"),
        ("id,name\ns1,Bo Li\n", ["nobody"], None),
    ],
)
def test_looking_up_names(text: str, keys: list[str], expected: str | None, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(text, encoding="utf-8")
    assert Roster(tmp_path / "r.csv").find(keys) == expected


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "id,name\n"])
def test_a_roster_without_students_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(text)
    put(tmp_path / "in", {"alice.ipynb": GOOD})
    with pytest.raises(IntakeError, match="header line"):
        collect(tmp_path / "in", MANIFEST, roster=tmp_path / "r.csv")


def test_two_hands_of_one_student_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,name\ns1,Ana Li\n")
    source = put(tmp_path / "in", {"s1/a.ipynb": STUB, "Ana Li/a.ipynb": GOOD})
    found = one(source, roster=tmp_path / "r.csv")
    assert found.student == "s1" and Flag.AMBIGUOUS_FILE in found.flags
    assert source_of(found, "q1") == HONEST["q1"]


# --- several candidates, attempts, time ------------------------------------------------------

OTHER = to_bytes(answered(q1="def double(x):\n    return 2 * x"))


def test_the_newest_candidate_counts(tmp_path: Path) -> None:
    source = put(tmp_path, {"alice/b.ipynb": GOOD, "alice/a.ipynb": OTHER})
    os.utime(source / "alice" / "a.ipynb", (2e9, 2e9))
    os.utime(source / "alice" / "b.ipynb", (1e9, 1e9))
    found = one(source)
    assert "2 * x" in source_of(found, "q1") and found.flags == [Flag.AMBIGUOUS_FILE]
    os.utime(source / "alice" / "b.ipynb", (2.1e9, 2.1e9))
    assert "x + x" in source_of(one(source), "q1")


def test_an_untouched_or_unreadable_newer_file_does_not_count(tmp_path: Path) -> None:
    source = put(tmp_path, {"a/1.ipynb": GOOD, "a/2.ipynb": STUB, "a/3.ipynb": b"<html>"})
    for number, name in enumerate(("1", "2", "3"), 1):
        os.utime(source / "a" / f"{name}.ipynb", (1e9 + number, 1e9 + number))
    found = one(source)
    assert found.problem is None and source_of(found, "q1") == HONEST["q1"]


def test_the_same_file_twice_is_not_ambiguous(tmp_path: Path) -> None:
    assert one(put(tmp_path, {"a/p.ipynb": GOOD, "a/p (1).ipynb": GOOD})).flags == []


def test_another_stages_notebook_is_passed_over(tmp_path: Path) -> None:
    other = answered()
    other.metadata["xor2gpt"] = {"stage": "03_xor_backprop"}
    other.cells = [new_code_cell("def sigmoid(z):\n    return z", id="sigmoid")]
    source = put(tmp_path, {"alice/03.ipynb": to_bytes(other), "alice/90.ipynb": GOOD})
    assert one(source).flags == []
    (source / "alice" / "90.ipynb").unlink()
    assert "stage '03_xor_backprop', not of '90_pairs'" in str(one(source).problem)


def test_all_attempts_for_the_best_one(tmp_path: Path) -> None:
    names = {"alice/try.ipynb": OTHER, "alice/try (1).ipynb": GOOD, "alice/try (2).ipynb": b"{"}
    source = put(tmp_path, names)
    for name in names:
        os.utime(source / name, (1e9, 1e9))
    found = collect(source, MANIFEST, attempts="best")
    assert [(s.attempt, source_of(s, "q1")[-5:]) for s in found] == [(1, "2 * x"), (2, "x + x")]
    assert found[1].notes[0] == "attempt 2 of 2"
    assert Submission.from_json(found[1].to_json()) == found[1]


def test_lateness_needs_a_time_that_no_student_wrote(tmp_path: Path) -> None:
    source = put(tmp_path / "in", {"a/x.ipynb": GOOD, "a/timestamp.txt": b"2020-01-01 00:00 UTC"})
    for name in ("x.ipynb", "timestamp.txt"):
        os.utime(source / "a" / name, (1_780_000_000,) * 2)
    due = datetime(2026, 1, 1, tzinfo=UTC)
    unknown = one(source, due=due)
    assert unknown.flags == [] and unknown.received is None
    assert "no receipt time is known" in " ".join(unknown.notes)
    late = one(source, due=due, trust_file_times=True)
    assert late.flags == [Flag.LATE] and late.received == "2026-05-28T20:26:40+00:00"
    assert one(source, due=datetime(2026, 6, 1, tzinfo=UTC), trust_file_times=True).flags == []


def test_times_inside_a_students_archive_are_the_students_word(tmp_path: Path) -> None:
    own = tar_bytes({"a.ipynb": GOOD}, "w:gz", mtime=1_000_000_000)
    source = put(tmp_path, {"alice.tar.gz": own})
    os.utime(source / "alice.tar.gz", (1_780_000_000,) * 2)
    found = one(source, due=datetime(2026, 1, 1, tzinfo=UTC), trust_file_times=True)
    assert found.flags == [Flag.LATE] and str(found.received).startswith("2026-05-28")


def test_a_due_date_needs_a_time_zone(tmp_path: Path) -> None:
    with pytest.raises(IntakeError, match="has no time zone"):
        collect(tmp_path, MANIFEST, due=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "text",
    ["2026-05-01 10:00:00.123456000 Z", "2026-05-01 12:00:00 +0200", "2026-05-01T10:00:00+00:00"],
)
def test_platforms_times(text: str) -> None:
    time = as_time(text)
    assert time is not None and time.replace(microsecond=0) == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert as_time("soon") is None and as_time(None) is None


# --- notebooks -------------------------------------------------------------------------------

TEXT = GOOD.decode()
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty (0 bytes)"),
    "blanks": (b" \n\t", "empty (3 bytes)"),
    "byte-order mark only": (b"\xef\xbb\xbf", "empty"),
    "zeros": (bytes(100), "zero bytes"),
    "html": (b"<!DOCTYPE html><html>", "HTML page"),
    "xml": (b"<?xml version='1.0'?><a/>", "HTML or XML"),
    "python": (b"import numpy as np\n", "not a notebook (no JSON"),
    "pdf": (b"%PDF-1.4", "a PDF file"),
    "zip": (b"PK\x03\x04", "a zip archive"),
    "cut off": (GOOD[: len(GOOD) // 3], "cut off after"),
    "cut off in a string": (GOOD[: GOOD.index(b"double") + 3], "cut off after"),
    "damaged": (TEXT.replace('"cells": [', '"cells": [,', 1).encode(), "damaged at line"),
    "git conflict": (("{\n<<<<<<< HEAD\n" + TEXT[1:]).encode(), "git conflict"),
    "latin-1": (GOOD.replace(b"Because", b"\xdcbung", 1), "is 0xDC"),
    "broken utf-16": (TEXT.encode("utf-16")[:-1], "encoding"),
    "list": (b"[1, 2]", "JSON, but not a notebook"),
    "number": (b"17", "not a notebook"),
    "no cells": (b"{}", "no cells"),
    "deep": (b'{"cells":' + b"[" * 100_000, "nested deeper"),
    "deep objects": (b'{"a":' * 100_000, "nested deeper"),
    "future": (TEXT.replace('"nbformat": 4', '"nbformat": 5').encode(), "newer than format 4"),
    "too many values": (b'{"cells": [' + b"1," * 2_100_000 + b"1]}", "values"),
    "too many cells": (b'{"cells": [' + b"{}," * 3001 + b"{}]}", "at most 3000"),
    "too much text": (
        json.dumps({"cells": [{"cell_type": "code", "source": "x" * 5_000_000}]}).encode(),
        "4 MiB of text",
    ),
    "nothing of this stage": (
        json.dumps({"cells": [{"cell_type": "code", "source": "print(1)"}]}).encode(),
        "No cell of stage '90_pairs'",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_notebooks_say_why(name: str) -> None:
    data, says = UNREADABLE[name]
    found = of(data)
    assert says in str(found.problem) and found.cells == [] and found.answers == {}
    assert len(str(found.problem)) < 400 and str(found.problem).endswith(".")


def same_cells(data: bytes) -> Submission:
    found = of(data)
    assert found.problem is None, found.problem
    assert [c.source for c in found.cells] == [HONEST["q1"], HONEST["q2"]]
    assert found.answers == {"why": HONEST["why-answer"]}
    return found


READABLE: dict[str, bytes] = {
    "byte-order mark": b"\xef\xbb\xbf" + GOOD,
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-be without mark": TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
    "windows line ends": GOOD.replace(b"\n", b"\r\n"),
    "one line": json.dumps(json.loads(TEXT)).encode(),
    "repeated keys": TEXT.replace('"nbformat": 4', '"nbformat": 9, "nbformat": 4').encode(),
    "NaN": TEXT.replace('"nbformat": 4', '"x": [NaN, Infinity], "nbformat": 4').encode(),
    "huge number": TEXT.replace('"nbformat": 4', f'"x": {"7" * 9000}, "nbformat": 4').encode(),
    "no format": TEXT.replace('"nbformat": 4', '"old": 4').encode(),
    "odd metadata": TEXT.replace('"tags": [\n     "prelude"\n    ]', '"tags": 3').encode(),
}


@pytest.mark.parametrize("name", READABLE)
def test_tolerant_reading(name: str) -> None:
    assert same_cells(READABLE[name]).flags == []


def test_sources_as_strings_and_lists() -> None:
    document = json.loads(TEXT)
    for cell in document["cells"]:
        cell["source"] = "".join(cell["source"])
    same_cells(json.dumps(document).encode())


def test_half_a_surrogate_pair_does_not_travel_on() -> None:
    found = of(to_bytes(answered(q1="x = '?'")).replace(b"'?'", b"'\\ud800'"))
    found.to_json().encode()
    assert source_of(found, "q1") == "x = '\ufffd'"


def test_formats_2_and_3_are_upgraded() -> None:
    cells = []
    for cell in answered().cells:
        code = {"cell_type": "code", "input": cell.source.splitlines(True), "prompt_number": 1}
        text = {"cell_type": cell.cell_type, "source": cell.source}
        cells.append({**(code if cell.cell_type == "code" else text), "metadata": {}})
    cells.insert(0, {"cell_type": "heading", "level": 2, "source": "My work"})
    found = same_cells(json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode())
    assert found.flags == [Flag.MATCHED_BY_TEXT, Flag.UPGRADED]


def test_outputs_points_and_kernels_are_not_looked_at() -> None:
    notebook = answered()
    notebook.metadata["kernelspec"] = {"name": "ir", "language": "R", "display_name": "R"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", text="3/3 points", name="stdout")]
        cell.metadata.get("nbgrader", {}).update(points=1000, grade=False, solution=True)
    assert same_cells(to_bytes(notebook)).flags == []


def test_a_notebook_that_was_never_run_is_flagged() -> None:
    notebook = answered()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
    assert same_cells(to_bytes(notebook)).flags == [Flag.NEVER_RUN]


def test_sixty_megabytes_of_attachments_are_dropped() -> None:
    notebook = answered()
    notebook.cells[0].attachments = {"a.png": {"image/png": "A" * 60 * 2**20}}
    assert len(same_cells(to_bytes(notebook)).to_json()) < 5_000


def test_read_raises_one_kind_of_error_only() -> None:
    for data, _ in UNREADABLE.values():
        try:
            read(data)
        except NotebookProblem as error:
            assert str(error)


# --- cells -----------------------------------------------------------------------------------


def cell(notebook: NotebookNode, cell_id: str) -> NotebookNode:
    return next(c for c in notebook.cells if c.id == cell_id)


def index(notebook: NotebookNode, cell_id: str) -> int:
    return next(i for i, c in enumerate(notebook.cells) if c.id == cell_id)


def stripped(notebook: NotebookNode) -> bytes:
    """As after a copy into another program: no metadata, no ids."""
    document = json.loads(to_bytes(notebook))
    document.update(metadata={}, nbformat_minor=4)
    for c in document["cells"]:
        c["metadata"] = {}
        del c["id"]
    return json.dumps(document).encode()


def test_an_honest_notebook_gives_exactly_its_answers() -> None:
    found = same_cells(GOOD)
    assert found.flags == [] and [c.matched_by for c in found.cells] == ["id", "id"]
    assert found.notes == [
        "cells of the release found: 12 by id, 0 by grade_id, 0 by text; own cells: 0"
    ]


def test_the_untouched_release_is_a_submission_too() -> None:
    found = of(STUB)
    assert found.problem is None and "NotImplementedError" in source_of(found, "q1")
    assert found.answers == {"why": ""} and found.flags == [Flag.NEVER_RUN]


def test_grade_ids_find_cells_whose_ids_changed() -> None:
    notebook = answered()
    for number, c in enumerate(notebook.cells):
        c.id = f"new-{number}"
    found = same_cells(to_bytes(notebook))
    assert [c.matched_by for c in found.cells] == ["grade_id", "grade_id"]


def test_text_finds_cells_without_any_identity() -> None:
    found = same_cells(stripped(answered()))
    assert found.flags == [Flag.MATCHED_BY_TEXT]
    assert [(c.id, c.matched_by) for c in found.cells] == [("q1", "text"), ("q2", "text")]
    assert "'q1' was found by its text, in cell 4" in found.notes


def test_edited_checks_without_identity_are_dropped_too() -> None:
    notebook = answered()
    cell(notebook, "q1-check-1").source += "\nprint('my own try')"
    cell(notebook, "prelude").source += "\nimport math"
    found = of(stripped(notebook))
    assert ids(found) == ["extra-1", "q1", "q2"]
    assert source_of(found, "extra-1") == "import math"
    assert Flag.TAMPERED_CHECK in found.flags


def test_a_stripped_answer_with_a_syntax_error_is_found_by_likeness() -> None:
    notebook = answered(q1='def double(x:\n    """Twice the array ``x``, of the same shape."""\n')
    assert ids(of(stripped(notebook))) == ["q1", "q2"]


def test_own_cells_are_kept_in_document_order() -> None:
    notebook = answered()
    notebook.cells.insert(index(notebook, "q1"), new_code_cell("HELPER = 2"))
    notebook.cells.append(new_code_cell("print('done')"))
    notebook.cells.append(new_code_cell("  \n"))
    notebook.cells.append(new_markdown_cell("a remark"))
    found = of(notebook)
    assert ids(found) == ["extra-1", "q1", "q2", "extra-2"]
    assert found.cells[0].matched_by == "extra" and found.flags == []


@pytest.mark.parametrize("below", [False, True])
def test_an_untouched_copy_of_an_answer_is_dropped(below: bool) -> None:
    notebook = answered()
    copy = new_code_cell(cell(released(), "q1").source, metadata=cell(notebook, "q1").metadata)
    notebook.cells.insert(index(notebook, "q1") + below, copy)
    found = same_cells(to_bytes(notebook))
    assert found.flags == [Flag.DUPLICATED_CELL]


def test_a_changed_copy_runs_as_an_own_cell() -> None:
    notebook = answered()
    copy = json.loads(json.dumps(cell(notebook, "q1")))
    copy["source"] = "def double(x):\n    return None"
    notebook.cells.insert(index(notebook, "demo"), nbformat.from_dict(copy))
    found = of(notebook)
    assert ids(found) == ["q1", "extra-1", "q2"] and Flag.DUPLICATED_CELL in found.flags
    assert source_of(found, "q1") == HONEST["q1"]  # the one whose place fits the release


def test_the_copy_that_is_in_its_place_is_the_answer() -> None:
    notebook = answered()
    copy = json.loads(json.dumps(cell(notebook, "q1")))
    copy["source"] = "def double(x):\n    return None"
    notebook.cells.insert(0, nbformat.from_dict(copy))
    assert source_of(of(notebook), "q1") == HONEST["q1"]


def test_an_answer_beside_an_untouched_stub_counts() -> None:
    notebook = answered(q1=cell(released(), "q1").source)
    notebook.cells.insert(index(notebook, "q1"), new_code_cell(HONEST["q1"]))
    found = same_cells(to_bytes(notebook))
    assert Flag.MATCHED_BY_TEXT in found.flags


def test_split_answers_run_together() -> None:
    notebook = answered(q1="def helper(x):\n    return 2 * x")
    below = new_code_cell("double = helper", metadata=cell(notebook, "q1").metadata)
    notebook.cells.insert(index(notebook, "q1") + 1, below)
    found = of(notebook)
    assert [c.source for c in found.cells][:2] == [
        "def helper(x):\n    return 2 * x",
        "double = helper",
    ]
    assert ids(found) == ["q1", "extra-1", "q2"]


def test_joined_answers_are_no_missing_cells() -> None:
    notebook = answered(q1=HONEST["q1"] + "\n\n\n" + HONEST["q2"])
    del notebook.cells[index(notebook, "q2")]
    found = of(notebook)
    assert ids(found) == ["q1"] and Flag.MISSING_CELL not in found.flags
    assert "'q2' was joined with another cell" in found.notes


def test_missing_answers_are_flagged() -> None:
    notebook = answered()
    for name in ("q1", "why-answer"):
        del notebook.cells[index(notebook, name)]
    found = of(notebook)
    assert ids(found) == ["q2"] and found.flags == [Flag.MISSING_CELL]
    assert {"'q1' was not found", "the answer to 'why' was not found"} <= set(found.notes)


def test_deleted_checks_prelude_and_demos_cost_nothing() -> None:
    notebook = answered()
    notebook.cells = [c for c in notebook.cells if c.id in HONEST]
    assert same_cells(to_bytes(notebook)).flags == []


def test_document_order_is_execution_order() -> None:
    notebook = answered()
    a, b = index(notebook, "q1"), index(notebook, "q2")
    notebook.cells[a], notebook.cells[b] = notebook.cells[b], notebook.cells[a]
    found = of(notebook)
    assert ids(found) == ["q2", "q1"] and found.flags == [Flag.REORDERED]


def test_edited_checks_and_preludes_are_flagged_and_ignored() -> None:
    for name, source in (("q1-check-1", "assert True"), ("prelude", "checking = None")):
        notebook = answered()
        cell(notebook, name).source = source
        found = same_cells(to_bytes(notebook))
        assert found.flags == [Flag.TAMPERED_CHECK]


def test_a_check_turned_into_a_solution_or_markdown_changes_nothing() -> None:
    notebook = answered()
    cell(notebook, "q1-check-1").metadata["nbgrader"].update(solution=True, grade=False)
    document = json.loads(to_bytes(notebook))
    for c in document["cells"]:
        if c["id"] in ("q2-check-1", "q1"):
            c["cell_type"] = "markdown"
    found = of(json.dumps(document).encode())
    assert [c.source for c in found.cells] == [HONEST["q1"], HONEST["q2"]]


def test_manual_answers() -> None:
    notebook = answered()
    notebook.cells.insert(index(notebook, "why-answer") + 1, new_markdown_cell("And one more."))
    assert of(notebook).answers == {"why": "Because once is not enough.\n\nAnd one more."}


def test_a_thousand_copies_take_bounded_time() -> None:
    notebook = answered()
    text = "def helper_{n}(x):\n    return [" + "x, " * 500 + "]"
    notebook.cells += [new_code_cell(text.format(n=n)) for n in range(1500)]
    for c in notebook.cells[:12]:
        c.metadata = {}
    with no_longer_than(20):
        found = of(stripped(notebook))
    assert {"q1", "q2"} <= set(ids(found)) and len(found.cells) == 1502


# --- the manifest ----------------------------------------------------------------------------


def test_the_manifest_knows_the_release(course: Course) -> None:
    made = build(course.root, course.stage_name)
    assert Manifest.from_json(made.to_json()) == made
    layout = {c.id: c for c in made.layout}
    assert [c.id for c in made.layout] == [c.id for c in course.stage.cells]
    assert layout["mse"].source.endswith("raise NotImplementedError")
    assert "GRADING_SEED" not in layout["mse-check-1"].source
    (question,) = made.manual
    assert question.answer_cell == "why-minus-answer"
    assert question.title == "### Exercise 1.5 ★ Why the minus?"
    assert layout["terms"].source == ""  # prose is not kept


def test_a_manifest_without_a_release_still_matches() -> None:
    from dataclasses import replace

    bare = replace(MANIFEST, released=[])
    found = submission_of(GOOD, bare, "alice")
    assert ids(found) == ["q1", "q2"] and found.flags == []


# --- fuzzing ---------------------------------------------------------------------------------

MUTATIONS = ("delete", "duplicate", "move", "metadata", "id", "type", "source", "drop-key", "junk")
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers()),
)  # fmt: skip


def mutate(draw: Any, document: dict[str, Any], keep: set[str]) -> None:
    """One random change that leaves the cells in ``keep`` as they are (but not where)."""
    cells = document["cells"]
    what = draw(st.sampled_from(MUTATIONS))
    at = draw(st.integers(0, len(cells) - 1)) if cells else 0
    target = cells[at] if cells else {}
    safe = isinstance(target, dict) and str(target.get("id")) not in keep
    if what == "duplicate" and cells:
        copy = json.loads(json.dumps(target))
        cells.insert(draw(st.integers(0, len(cells))), copy)
    elif what == "move" and cells:
        cells.insert(draw(st.integers(0, len(cells) - 1)), cells.pop(at))
    elif what == "junk":
        cells.insert(at, draw(ODD))
    elif not safe or not isinstance(target, dict):
        return
    elif what == "delete":
        del cells[at]
    elif what == "metadata":
        target["metadata"] = draw(ODD)
    elif what == "id":
        target["id"] = draw(ODD)
    elif what == "type":
        target["cell_type"] = draw(st.sampled_from(["code", "markdown", "raw", "odd", 7]))
    elif what == "source":
        target["source"] = draw(ODD)
    elif what == "drop-key" and target:
        del target[draw(st.sampled_from(sorted(target)))]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_intact_answers_survive_any_damage_around_them(data: st.DataObject) -> None:
    document = json.loads(TEXT)
    for _ in range(data.draw(st.integers(1, 8))):
        mutate(data.draw, document, {"q1", "q2", "why-answer"})
    found = of(json.dumps(document).encode())
    assert found.problem is None, found.problem
    sources = {c.id: c.source for c in found.cells}
    assert sources["q1"] == HONEST["q1"] and sources["q2"] == HONEST["q2"]
    assert found.answers["why"].startswith(HONEST["why-answer"])
    Submission.from_json(found.to_json())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_bytes_never_raise(data: st.DataObject) -> None:
    blob = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(blob)))
        end = min(len(blob), at + data.draw(st.integers(0, 40)))
        blob[at:end] = data.draw(st.binary(max_size=20))
    found = of(bytes(blob))
    assert found.student == "mallory"
    assert (found.problem is None) or (found.cells == [] and found.problem)
    found.to_json().encode()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_archives_never_stop_the_others(tmp_path_factory: Any, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(PACKERS)))
    blob = bytearray(PACKERS[kind]({"work/a.ipynb": GOOD, "b.txt": b"hello"}))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    source = tmp_path_factory.mktemp("in")
    put(source, {"alice.ipynb": GOOD, f"mallory/{kind}": bytes(blob), "zoe.ipynb": GOOD})
    found = {s.student: s for s in collect(source, MANIFEST)}
    assert set(found) == {"alice", "mallory", "zoe"}
    assert found["alice"].problem is None and found["zoe"].problem is None


def test_empty_folders_are_submissions_with_a_problem(tmp_path: Path) -> None:
    source = put(tmp_path / "in", {"alice/a.ipynb": GOOD, "bob/.DS_Store": b"x"})
    (source / "cy" / STAGE).mkdir(parents=True)
    (source / "di" / "03_xor_backprop").mkdir(parents=True)
    found = {s.student: s.problem for s in collect(source, MANIFEST)}
    empty = "Nothing was handed in: the folder is empty."
    assert found == {"alice": None, "bob": empty, "cy": empty}
