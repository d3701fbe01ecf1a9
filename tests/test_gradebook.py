"""Results in nbgrader's gradebook: SQLite, a real PostgreSQL server, nbgrader's own tools."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from course_kit import ROOT, Course, copy_course
from nbgrader.api import Gradebook
from sqlalchemy import create_engine, inspect, text

from autograder import gradebook, manifest
from autograder.authoring import mutants
from autograder.authoring.nbgrading import (
    answered,
    course_config,
    quiet_api,
    reference_answers,
    succeed,
    temporary_course,
)
from autograder.authoring.stage import Stage, stage_names
from autograder.gradebook import CourseGradebook, GradebookError, record
from autograder.manifest import Manifest
from autograder.model import (
    CheckResult,
    ManualResult,
    Result,
    Submission,
    SubmittedCell,
    Verdict,
    overall_verdict,
)
from autograder.runner import run

pytestmark = pytest.mark.xdist_group("gradebook")
STAGE, QUESTION = "01_lines", "why-minus"


def submitted(student: str, plan: Manifest, answers: dict[str, str], reply: str = "") -> Submission:
    """A submission with the given answers by exercise; other exercises as released."""
    cells = [
        SubmittedCell(cell.id, answers.get(str(cell.exercise), cell.source)) for cell in plan.cells
    ]
    return Submission(
        student,
        plan.stage,
        "0" * 64,
        cells,
        answers={question.id: reply for question in plan.manual},
        received="2026-03-01T10:00:00+00:00",
    )


def judged(plan: Manifest, submission: Submission, lost: dict[str, str] | None = None) -> Result:
    """A result in which some checks are lost, with their messages."""
    lost = lost or {}
    checks = [
        CheckResult(c.id, Verdict.WA, 0.0, c.points, lost[c.id])
        if c.id in lost
        else CheckResult(c.id, Verdict.AC, c.points, c.points)
        for c in plan.checks
    ]
    return Result(
        student=submission.student,
        stage=plan.stage,
        verdict=overall_verdict(checks),
        points=sum(check.points for check in checks),
        max_points=plan.max_points,
        checks=checks,
        manual=[ManualResult(q.id, q.max_points) for q in plan.manual],
        flags=[],
        submission=submission.sha256,
        manifest=plan.digest,
        seed=1,
    )


def dump(url: str, without: str = "") -> dict[str, list]:
    """All rows of all tables, less those of one student."""
    engine = create_engine(url)
    with engine.connect() as db:
        owned = {
            "student": "id = :s",
            "submitted_assignment": "student_id = :s",
            "submitted_notebook": (
                "assignment_id IN (SELECT id FROM submitted_assignment WHERE student_id = :s)"
            ),
        }
        for name in ("grade", "comment"):
            owned[name] = (
                "notebook_id IN (SELECT n.id FROM submitted_notebook n JOIN submitted_assignment a "
                "ON n.assignment_id = a.id WHERE a.student_id = :s)"
            )
        found = {}
        for name in inspect(engine).get_table_names():
            where, values = "", {}
            if without and name in owned:
                where, values = f"WHERE NOT ({owned[name]})", {"s": without}
            rows = db.execute(text(f"SELECT * FROM {name} {where}"), values)
            found[name] = sorted(repr(tuple(row)) for row in rows)
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> tuple[Course, Manifest]:
    """The small course, registered once."""
    course = copy_course(tmp_path_factory.mktemp("gradebook") / "course")
    return course, manifest.build(course.root, STAGE)


@pytest.fixture
def place(lines, tmp_path: Path) -> tuple[Course, Manifest, str]:
    """A fresh gradebook for the small course."""
    course, plan = lines
    shutil.rmtree(course.root / "autograded", ignore_errors=True)
    return course, plan, f"sqlite:///{tmp_path}/gradebook.db"


# --- agreement with nbgrader itself ---


def stages() -> list:
    found = [("fixture", STAGE), *(("repository", name) for name in stage_names(ROOT))]
    return [pytest.param(*place, id=place[1]) for place in found]


@pytest.mark.parametrize("where, name", stages())
def test_points_agree_with_plain_nbgrader(
    where: str, name: str, course: Course, need_program, tmp_path: Path
) -> None:
    """A right and a wrong submission through both graders: the same points in every cell, the
    same sum, and a page of feedback with it."""
    if sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    need_program("bwrap", why="submissions run behind bubblewrap")
    root = course.root if where == "fixture" else ROOT
    stage, plan = Stage.load(root, name), mutants.load(root, name)
    answers = reference_answers(stage)
    key = next(key for key in plan.nbgrader if "/" in key and plan.find(key).is_wrong)
    exercise, mutant = stage.exercises[key.split("/")[0]], plan.find(key)
    wrong = answers | {exercise.name: mutant.answer(exercise, plan.label)}
    built = manifest.build(root, name)
    given = {"right": answers, "wrong": wrong}
    submissions = [submitted(student, built, own) for student, own in given.items()]
    out = tmp_path / "out"
    assert run(built, submissions, out, workers=2, progress=False).complete
    with temporary_course(root, name) as theirs:
        for student, own in given.items():
            theirs.submit(student, answered(theirs.released(), own))
            theirs.autograde(student)
        expected = {student: theirs.points(student) for student in given}
        shutil.rmtree(theirs.root / "autograded")
        url = f"sqlite:///{tmp_path}/ours.db"
        assert sorted(record(theirs.root, built, out, db_url=url)) == ["right", "wrong"]
        config = course_config(theirs.root)
        config.CourseDirectory.db_url = url
        with quiet_api(config) as api, api.gradebook as book:
            for student in given:
                submission = book.find_submission(name, student)
                grades = [grade for n in submission.notebooks for grade in n.grades]
                assert {g.name: float(g.score) for g in grades} == expected[student]
                succeed(api.generate_feedback(name, student, force=True), student)
                page = theirs.root / "feedback" / student / name / f"{name}.html"
                total = sum(expected[student].values())
                text = page.read_text(encoding="utf-8")
                assert f"(Score: {total:.1f} / {stage.max_points:.1f})" in text
                assert "BEGIN HIDDEN" not in text and "BEGIN MARK SCHEME" not in text
    assert sum(expected["wrong"].values()) < sum(expected["right"].values())


# --- what is written ---


def test_a_student_gets_points_and_manual_questions_wait(place) -> None:
    course, plan, url = place
    ada = submitted("ada", plan, reply="Because.", answers=reference_answers(course.stage))
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(judged(plan, ada, {"mse-check-1": "divide by n"}), ada)
        submission = book.book.find_submission(STAGE, "ada")
        grades = {g.name: g for n in submission.notebooks for g in n.grades}
        assert (grades["mse-check-1"].auto_score, grades["mse-check-1"].max_score) == (0, 2)
        assert grades["predict-check-1"].auto_score == 1
        waiting = {name for name, grade in grades.items() if grade.needs_manual_grade}
        assert waiting == {QUESTION} and grades[QUESTION].score == 0
        assert submission.max_score == course.stage.max_points
        assert str(submission.timestamp) == "2026-03-01 10:00:00"


def test_the_same_again_changes_nothing(place) -> None:
    course, plan, url = place
    ada = submitted("ada", plan, reference_answers(course.stage), "Because.")
    result = judged(plan, ada)
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(result, ada)
        path = book.notebook_path("ada")
    before, made = dump(url), path.stat().st_mtime_ns
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(result, ada)
    assert dump(url) == before and path.stat().st_mtime_ns == made


def test_only_that_students_rows_change(place) -> None:
    course, plan, url = place
    with CourseGradebook(course.root, plan, db_url=url) as book:
        for student in ("ada", "bob", "cyd"):
            own = submitted(student, plan, reference_answers(course.stage))
            book.write(judged(plan, own), own)
        rest, all_rows = dump(url, without="bob"), dump(url)
        files = {s: book.notebook_path(s).read_bytes() for s in ("ada", "cyd")}
        worse = submitted("bob", plan, {}, "New answer.")
        book.write(judged(plan, worse, {c.id: "no" for c in plan.checks}), worse)
    assert dump(url, without="bob") == rest and dump(url) != all_rows
    assert {s: book.notebook_path(s).read_bytes() for s in files} == files
    assert len(rest["student"]) == 2


def test_what_a_person_gave_survives_regrading(place) -> None:
    course, plan, url = place
    ada = submitted("ada", plan, reference_answers(course.stage), "Because.")
    with CourseGradebook(course.root, plan, db_url=url) as book:

        def grades() -> dict:
            book.book.db.expire_all()
            notebook = book.book.find_submission_notebook(STAGE, STAGE, "ada")
            return {grade.name: grade for grade in notebook.grades}

        def comment():
            return book.book.find_comment(QUESTION, STAGE, STAGE, "ada")

        book.write(judged(plan, ada), ada)
        for name, score in ((QUESTION, 1.5), ("mse-check-1", 1.0)):
            grade = grades()[name]
            grade.manual_score, grade.needs_manual_grade = score, False
            book.book.db.commit()
        comment().manual_comment = "Nearly."
        book.book.db.commit()

        book.write(judged(plan, ada), ada)
        assert (grades()[QUESTION].score, grades()[QUESTION].needs_manual_grade) == (1.5, False)
        assert (grades()["mse-check-1"].score, comment().comment) == (1.0, "Nearly.")
        assert not any(grade.needs_manual_grade for grade in grades().values())

        other = submitted("ada", plan, reference_answers(course.stage), "Another reason.")
        book.write(judged(plan, other, {"mse-check-1": "no"}), other)
        assert (grades()[QUESTION].score, grades()["mse-check-1"].score) == (1.5, 1.0)
        assert comment().comment == "Nearly."
        again = {name for name, grade in grades().items() if grade.needs_manual_grade}
        assert again == {QUESTION, "mse-check-1"}


@pytest.mark.parametrize("verdict", [Verdict.INTERNAL, Verdict.KILLED, Verdict.NEEDS_HUMAN])
def test_what_could_not_be_graded_waits_for_a_person(place, verdict: Verdict) -> None:
    course, plan, url = place
    ada = submitted("ada", plan, {})
    result = judged(plan, ada)
    lost = [replace(check, verdict=verdict, points=0.0) for check in result.checks]
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(replace(result, checks=lost, verdict=verdict, points=0.0), ada)
        notebook = book.book.find_submission_notebook(STAGE, STAGE, "ada")
        assert all(g.auto_score is None and g.needs_manual_grade for g in notebook.grades)
        book.write(result, ada)
        book.book.db.expire_all()
        waiting = [g.name for g in notebook.grades if g.needs_manual_grade]
        assert waiting == [QUESTION] and notebook.score == plan.max_points


def test_no_response_stands_beside_an_unanswered_stub(place) -> None:
    course, plan, url = place
    ada = submitted("ada", plan, {"mse": "def mse(p, y):\n    return 1"})
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(judged(plan, ada), ada)
        notebook = book.book.find_submission_notebook(STAGE, STAGE, "ada")
        comments = {c.name: c.comment for c in notebook.comments}
    answer = {cell.exercise: cell.id for cell in plan.cells if cell.exercise}
    assert comments[answer["mse"]] is None and comments[answer["predict"]] == "No response."
    assert comments[QUESTION] is None


HOSTILE = (
    "**Bold** <script>alert(1)</script> <img src=x onerror=alert(2)>\n\n[x](javascript:alert(3))"
)


def test_the_graded_notebook_shows_the_work_and_nothing_hidden(place) -> None:
    course, plan, url = place
    ada = submitted("ada", plan, reference_answers(course.stage), HOSTILE)
    cells = [SubmittedCell("extra-0", "own_idea = 1", "extra"), *ada.cells]
    cells.insert(3, SubmittedCell("extra-1", "print('</script><b>')", "extra"))
    ada = replace(ada, cells=cells)
    with CourseGradebook(course.root, plan, db_url=url) as book:
        message = "divide by n\x1b[31m\x1b]0;title\x07 <b>not</b>"
        book.write(judged(plan, ada, {"mse-check-1": message}), ada)
        path = book.notebook_path("ada")
        released = {cell.id: cell.source for cell in book.released.cells}
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    by_id = {cell.id: cell for cell in notebook.cells}
    order = [cell.id for cell in notebook.cells]
    assert order[0] == "own-0" and by_id["own-0"].source == "own_idea = 1"
    assert order.index("own-3") == order.index(ada.cells[2].id) + 1
    answer = next(cell for cell in plan.cells if cell.exercise == "mse")
    assert by_id[answer.id].source == reference_answers(course.stage)["mse"]
    [shown] = by_id["mse-check-1"].outputs
    assert (shown.output_type, shown.ename) == ("error", "WA")
    assert shown.traceback == ["WA: 0 of 2 points\ndivide by n <b>not</b>"]
    [fine] = by_id["predict-check-1"].outputs
    assert fine.text == "AC: 1 of 1 points\n"
    whole = path.read_text(encoding="utf-8")
    for check in plan.checks:
        assert by_id[check.id].source == released[check.id] != check.source
        for line in set(check.source.splitlines()) - set(check.visible.splitlines()):
            assert len(line.strip()) < 12 or line.strip() not in whole, line
    assert "BEGIN HIDDEN" not in whole and "BEGIN MARK SCHEME" not in whole

    config = course_config(course.root)
    config.CourseDirectory.db_url = url
    with quiet_api(config) as api:
        succeed(api.generate_feedback(STAGE, "ada", force=True), "feedback")
    page = (course.root / "feedback" / "ada" / STAGE / f"{STAGE}.html").read_text(encoding="utf-8")
    assert "<strong>Bold</strong>" in page and "divide by n" in page
    for bad in ("<script>alert", "<img src=x", 'href="javascript', "<b>not</b>", "</script><b>"):
        assert bad not in page, bad


def test_nbgrader_takes_the_graded_notebook_for_its_own(place) -> None:
    """Its rule for points, applied to the notebook, gives the points that stand in the gradebook;
    released cells keep their checksums."""
    from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution

    course, plan, url = place
    ada = submitted("ada", plan, reference_answers(course.stage))
    result = judged(plan, ada, {"mse-check-2": "no", "step-check-1": "no"})
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(result, ada)
        notebook = nbformat.read(book.notebook_path("ada"), as_version=4)
    points = {check.id: check.points for check in result.checks}
    graded = [cell for cell in notebook.cells if is_grade(cell) and not is_solution(cell)]
    assert {cell.id: determine_grade(cell)[0] for cell in graded} == points
    assert all(cell.metadata.nbgrader.checksum == compute_checksum(cell) for cell in graded)


def test_an_unreadable_submission_shows_why(place) -> None:
    course, plan, url = place
    sentence = "The file is cut off: <b>upload</b> it again."
    bob = Submission("bob", STAGE, "0" * 64, problem=sentence)
    with CourseGradebook(course.root, plan, db_url=url) as book:
        book.write(judged(plan, bob, {c.id: sentence for c in plan.checks}), bob)
        first = nbformat.read(book.notebook_path("bob"), as_version=4).cells[0]
        assert book.book.find_submission(STAGE, "bob").score == 0
    assert "cut off" in first.source and "<b>" not in first.source


# --- what refuses ---


def test_another_version_of_the_stage_is_refused(place) -> None:
    course, plan, url = place
    checks = [replace(plan.checks[0], points=7.0), *plan.checks[1:]]
    with pytest.raises(GradebookError, match=f"differ in {plan.checks[0].id}: build the manifest"):
        CourseGradebook(course.root, replace(plan, checks=checks), db_url=url).__enter__()


def test_a_result_and_a_submission_of_two_students_are_refused(place) -> None:
    course, plan, url = place
    ada, bob = submitted("ada", plan, {}), submitted("bob", plan, {})
    with CourseGradebook(course.root, plan, db_url=url) as book:
        with pytest.raises(GradebookError, match="do not belong together"):
            book.write(judged(plan, ada), bob)
        assert book.book.students == []


def test_a_gradebook_that_does_not_answer_is_named_without_its_password(place) -> None:
    course, plan, _ = place
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/course"
    with pytest.raises(GradebookError, match=r"me:\*\*\*@127\.0\.0\.1:1/course") as caught:
        CourseGradebook(course.root, plan, db_url=url).__enter__()
    assert "secret" not in str(caught.value)


def test_results_of_another_manifest_are_not_recorded(place, tmp_path: Path, need_program) -> None:
    need_program("bwrap", why="submissions run behind bubblewrap")
    course, plan, url = place
    out = tmp_path / "out"
    run(plan, [submitted("ada", plan, {})], out, progress=False)
    assert record(course.root, plan, out, db_url=url) == ["ada"]
    assert record(course.root, plan, out, db_url=url, student="bob") == []
    newer = replace(plan, limits=replace(plan.limits, call_seconds=11.0))
    with pytest.raises(GradebookError, match="ada was graded with another version of 01_lines"):
        record(course.root, newer, out, db_url=url)
    (out / "results" / "ada.json").write_text("{}")
    with pytest.raises(GradebookError, match=r"ada\.json is missing or damaged.*--student ada"):
        record(course.root, plan, out, db_url=url)


# --- PostgreSQL ---


@pytest.fixture(scope="module")
def postgres(need_program: Callable[..., str]) -> Iterator[str]:
    """The URL of a fresh PostgreSQL server of our own, reached by a socket in its folder."""
    if sys.platform == "win32":
        pytest.skip("the server is reached by a Unix socket")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)
    initdb = need_program("initdb", *found, why="the gradebook is tested on a real PostgreSQL")
    programs = Path(initdb).parent
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="xor2gpt-pg-"))
    if user:
        shutil.chown(folder, user)
    data = str(folder / "data")

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs / program), *arguments],
            user=user,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}"

    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    try:
        call("initdb", "-D", data, "-U", "grader", "--auth=trust", "-E", "UTF8", "--no-sync")
        call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://grader@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_holds_the_same_as_sqlite(postgres: str, place) -> None:
    course, plan, sqlite = place
    kept = {}
    for url in (sqlite, postgres):
        with CourseGradebook(course.root, plan, db_url=url) as book:
            for student, lost in (("ada", {}), ("bob", {"mse-check-1": "divide by n"})):
                own = submitted(student, plan, reference_answers(course.stage), "Because.")
                book.write(judged(plan, own, lost), own)
            grade = book.book.find_grade(QUESTION, STAGE, STAGE, "bob")
            grade.manual_score, grade.needs_manual_grade = 2.0, False
            book.book.find_comment(QUESTION, STAGE, STAGE, "bob").manual_comment = "Good – “well”."
            book.book.db.commit()
        rest = dump(url, without="bob")
        with CourseGradebook(course.root, plan, db_url=url) as book:
            own = submitted("bob", plan, reference_answers(course.stage), "Because.")
            book.write(judged(plan, own), own)
        assert dump(url, without="bob") == rest
        with Gradebook(url, "xor2gpt") as book:
            kept[url] = [
                (s["student"], s["score"], s["max_score"], s["needs_manual_grade"])
                for s in sorted(book.submission_dicts(STAGE), key=lambda s: s["student"])
            ]
            comment = book.find_comment(QUESTION, STAGE, STAGE, "bob").comment
            assert comment == "Good – “well”."
    assert kept[postgres] == kept[sqlite] == [("ada", 7, 9, True), ("bob", 9, 9, False)]


def test_nbgraders_own_tools_read_it_from_postgresql(postgres: str, place) -> None:
    course, plan, _ = place
    cyd = submitted("cyd", plan, reference_answers(course.stage))
    with CourseGradebook(course.root, plan, db_url=postgres) as book:
        book.write(judged(plan, cyd), cyd)
    config = course_config(course.root)
    config.CourseDirectory.db_url = postgres
    with quiet_api(config) as api:
        succeed(api.generate_feedback(STAGE, "cyd", force=True), "feedback")
    page = course.root / "feedback" / "cyd" / STAGE / f"{STAGE}.html"
    assert "(Score: 7.0 / 9.0)" in page.read_text(encoding="utf-8")


def test_a_time_without_a_zone_is_taken_for_utc() -> None:
    assert gradebook._utc("2026-03-01T10:00:00") == gradebook._utc("2026-03-01T11:00:00+01:00")
