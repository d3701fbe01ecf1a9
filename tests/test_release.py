"""The student edition: what it holds, what it hides, and that nobody edits it by hand."""

from __future__ import annotations

import json
import shutil

import nbformat
import pytest
from course_kit import Course

from autograder.authoring.release import differences, release
from autograder.authoring.stage import Stage, StageError

STUDENT = "notebooks/01_lines/01_lines.ipynb"


@pytest.fixture
def released(course: Course) -> Course:
    release(course.root, ["01_lines"])
    return course


def student(course: Course) -> Stage:
    return Stage.load(course.root, "01_lines", folder="notebooks")


def test_answers_hidden_tests_and_mark_schemes_are_gone(released: Course) -> None:
    text = (released.root / STUDENT).read_text(encoding="utf-8")
    for secret in (
        "BEGIN SOLUTION",
        "HIDDEN TESTS",
        "MARK SCHEME",
        "### STUB",
        "np.mean((p - y) ** 2)",
        "default_rng",
        "Because of the formula",
    ):
        assert secret not in text
    edition = student(released)
    assert edition.cell("mse").source.endswith("    raise NotImplementedError")
    assert edition.cell("mse-check-1").source.endswith('(not the sum)"\n)')


def test_stub_lines_are_uncovered(released: Course) -> None:
    assert student(released).cell("step").source == (
        "def step(w, b, dw, db, rate):\n"
        '    """One step of gradient descent: the new (w, b)."""\n'
        "    return w + rate * dw, b + rate * db"
    )


def test_reference_outputs_stay_and_counts_go(released: Course) -> None:
    source, edition = released.stage, student(released)
    for before, after in zip(source.cells, edition.cells, strict=True):
        assert after.id == before.id
        if before.is_code:
            assert after.node.execution_count is None
            assert len(after.node.outputs) == len(before.node.outputs)
    assert edition.cell("loss-demo").node.outputs == source.cell("loss-demo").node.outputs
    picture = edition.cell("line-plot").node.outputs[0].data
    assert picture == source.cell("line-plot").node.outputs[0].data


def test_roles_and_measured_figures_stay(released: Course) -> None:
    source, edition = released.stage, student(released)
    assert edition.extra == source.extra
    assert [c.extra for c in edition.cells] == [c.extra for c in source.cells]
    assert edition.max_points == source.max_points


def test_nothing_can_be_deleted_or_locked_cells_edited(released: Course) -> None:
    for cell in student(released).cells:
        meta = cell.node.metadata
        if cell.nbgrader:
            assert meta["deletable"] is False
            assert meta.get("editable", True) is (cell.role == "answer")


def test_two_releases_are_the_same_bytes_and_touch_nothing(released: Course) -> None:
    path = released.root / STUDENT
    first, stamp = path.read_bytes(), path.stat().st_mtime_ns
    release(released.root, ["01_lines"])
    assert path.stat().st_mtime_ns == stamp
    shutil.rmtree(released.root / "notebooks")
    release(released.root, ["01_lines"])
    assert path.read_bytes() == first
    assert first.endswith(b"}\n") and b"\r" not in first


def test_no_gradebook_is_made(released: Course) -> None:
    assert not list(released.root.rglob("*.db"))


def test_files_beside_the_notebook_are_released_and_stale_ones_go(released: Course) -> None:
    beside = released.root / "solutions" / "01_lines" / "points.csv"
    beside.write_text("x,y\n1,2\n", encoding="utf-8")
    stale = released.root / "notebooks" / "01_lines" / "old.csv"
    stale.write_text("x\n", encoding="utf-8")
    release(released.root, ["01_lines"])
    assert (stale.parent / "points.csv").read_text(encoding="utf-8") == "x,y\n1,2\n"
    assert not stale.exists()


def test_another_folder_can_take_the_release(course: Course, tmp_path) -> None:
    paths = release(course.root, ["01_lines"], tmp_path / "out")
    assert paths == [tmp_path / "out" / "01_lines" / "01_lines.ipynb"]
    assert paths[0].is_file() and not (course.root / "notebooks").exists()


@pytest.mark.parametrize(
    "cell, old, new, words",
    [
        ("predict", "    ### BEGIN SOLUTION\n", "", "'### END SOLUTION' without"),
        ("predict", "\n    ### END SOLUTION", "", "never closed"),
        ("predict", "### BEGIN SOLUTION", "# BEGIN SOLUTION", "without '### BEGIN SOLUTION'"),
        ("mse-check-1", "### END HIDDEN TESTS", "", "never closed by '### END HIDDEN TESTS'"),
        (
            "loss-demo",
            "print",
            "### BEGIN SOLUTION\n### END SOLUTION\nprint",
            "is no solution cell",
        ),
    ],
)
def test_a_wrong_marker_stops_the_release(
    released: Course, cell: str, old: str, new: str, words: str
) -> None:
    before = (released.root / STUDENT).read_bytes()
    released.edit(cell, old, new)
    with pytest.raises(StageError, match=f"01_lines.ipynb: cell '{cell}': .*{words}"):
        release(released.root, ["01_lines"])
    assert (released.root / STUDENT).read_bytes() == before


def test_an_answer_without_any_marker_stops_the_release(released: Course) -> None:
    released.edit("mse", "    ### BEGIN SOLUTION\n", "")
    released.edit("mse", "\n    ### END SOLUTION", "")
    with pytest.raises(StageError, match="cell 'mse'.*would show the answer"):
        release(released.root, ["01_lines"])


# --- the comparison with what is committed ---


def complaints(course: Course) -> list[str]:
    return [str(difference) for difference in differences(course.root, ["01_lines"])]


def test_a_fresh_release_has_no_differences(released: Course) -> None:
    assert complaints(released) == []


def edit_by_hand(course: Course, change) -> None:
    path = course.root / STUDENT
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def by_id(notebook, cell_id: str):
    return next(cell for cell in notebook.cells if cell.id == cell_id)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda nb: by_id(nb, "mse-task").update(source="### Easier"),
            "cell 'mse-task' differs from what solutions/ generates (source)",
        ),
        (
            lambda nb: by_id(nb, "loss-demo").update(outputs=[]),
            "cell 'loss-demo' differs from what solutions/ generates (outputs)",
        ),
        (
            lambda nb: by_id(nb, "mse-check-1").metadata.nbgrader.update(points=5),
            "cell 'mse-check-1' differs from what solutions/ generates (metadata)",
        ),
        (
            lambda nb: nb.cells.append(nbformat.v4.new_markdown_cell("more", id="more")),
            "cell 'more' is not in solutions/",
        ),
        (lambda nb: nb.cells.pop(), "cell 'terms' is missing"),
        (lambda nb: nb.metadata.xor2gpt.update(stage="x"), "the notebook's metadata differ"),
    ],
)
def test_an_edit_by_hand_is_found_and_placed(released: Course, change, words: str) -> None:
    edit_by_hand(released, change)
    [found] = complaints(released)
    assert found.startswith(f"{STUDENT}: {words}")
    assert found.endswith("; run `make release` (notebooks/ is written by the tool, never by hand)")


def test_other_bytes_of_the_same_cells_are_found(released: Course) -> None:
    path = released.root / STUDENT
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    assert "the same cells in other bytes" in complaints(released)[0]


def test_a_broken_file_is_found(released: Course) -> None:
    (released.root / STUDENT).write_text("{", encoding="utf-8")
    assert "is no readable notebook" in complaints(released)[0]


def test_an_edit_of_the_source_without_a_release_is_found(released: Course) -> None:
    released.edit("idea", "A line predicts", "Each line predicts")
    assert complaints(released)[0].startswith(f"{STUDENT}: cell 'idea' differs")


def test_missing_and_foreign_files_are_found(released: Course) -> None:
    (released.root / STUDENT).unlink()
    (released.root / "notebooks" / "02_old").mkdir()
    (released.root / "notebooks" / "02_old" / "02_old.ipynb").touch()
    found = complaints(released)
    assert found[0].startswith(f"{STUDENT}: is missing")
    assert found[1].startswith("notebooks/02_old/02_old.ipynb: comes from no stage")
    only = differences(released.root, ["01_lines"], complete=False)
    assert [difference.file for difference in only] == [STUDENT]
