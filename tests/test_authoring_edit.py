"""Stages as text and back, and the texts that are derived from a cell."""

from __future__ import annotations

import nbformat
import pytest
from course_kit import Course
from hypothesis import given
from hypothesis import strategies as st

from autograder.authoring import edit
from autograder.authoring.stage import (
    Stage,
    StageError,
    outside,
    reference_source,
    repository_root,
    stage_names,
    stub_source,
)

ANSWER = """def f(x):
    '''Twice x.'''
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION"""

# --- round trip ---


def test_text_and_back_keeps_everything(course: Course) -> None:
    old = course.stage
    new = edit.from_text(edit.to_text(old), old)
    assert nbformat.writes(new) == nbformat.writes(old.notebook)


def test_text_holds_ids_and_roles_in_words(course: Course) -> None:
    text = edit.to_text(course.stage)
    for header in (
        '# %% predict-task [markdown] task="predict" stars=1 minutes=3',
        '# %% predict answer="predict"',
        '# %% mse-check-1 check="mse" points=2 objective="O1.2"',
        '# %% why-minus [markdown] manual="why-minus" points=2 objective="O1.4" minutes=6',
        '# %% line-plot tags=["demo"] alt="Four points on the line y = 2x + 1."',
    ):
        assert header in text.splitlines()
    assert "nbgrader" not in text


def test_a_changed_cell_loses_its_output_and_no_other(course: Course) -> None:
    old = course.stage
    new = edit.from_text(edit.to_text(old).replace("my_guess = None", "my_guess = 3"), old)
    after = {cell.id: cell for cell in new.cells}
    assert after["guess"].execution_count is None
    for cell in old.cells:
        if cell.is_code and cell.id != "guess":
            assert after[cell.id].outputs == cell.node.outputs
            assert after[cell.id].execution_count == cell.node.execution_count


def test_roles_become_the_metadata_of_the_contract() -> None:
    text = (
        '# %% f answer="double"\npass\n\n# %% f-check-1 check="double" points=2 objective="O1.1"\n'
        'pass\n\n# %% why [markdown] manual="why" points=3 objective="O1.2" minutes=4\n# Why?\n'
    )
    answer, check, manual = edit.from_text(text).cells
    assert answer.metadata.nbgrader == {
        "grade": False,
        "grade_id": "f",
        "locked": False,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    assert answer.metadata.xor2gpt == {"role": "answer", "exercise": "double"}
    assert check.metadata.nbgrader.grade and check.metadata.nbgrader.locked
    assert check.metadata.nbgrader.points == 2
    assert check.metadata.xor2gpt == {"role": "check", "exercise": "double", "objective": "O1.1"}
    assert manual.metadata.nbgrader.task and manual.metadata.nbgrader.points == 3
    assert manual.metadata.xor2gpt.minutes == 4


@pytest.mark.parametrize(
    "text, words",
    [
        ("# %%\npass\n", "cell 0 has no id in its header"),
        ("# %% a\npass\n\n# %% a\npass\n", "the id 'a' is used twice"),
    ],
)
def test_a_script_without_usable_ids_is_refused(text: str, words: str) -> None:
    with pytest.raises(StageError, match=words):
        edit.from_text(text)


words = st.from_regex(r"[a-z]{1,8}(-[a-z]{1,8})?", fullmatch=True)
code = st.from_regex(r"[a-z]{1,6} = [0-9]{1,3}(\n[a-z]{1,6} = \"[^\W_]{0,8}\")?", fullmatch=True)
prose = st.from_regex(r"[A-Z][a-z ,$^\\{}]{0,30}\.(\n\n- [a-z]{1,9})?", fullmatch=True)


@st.composite
def notebooks(draw: st.DrawFn) -> nbformat.NotebookNode:
    """Notebooks of code and prose, with ids, roles, tags, outputs and execution counts."""
    cells = []
    for cell_id in draw(st.lists(words, min_size=1, max_size=6, unique=True)):
        if draw(st.booleans()):
            cell = nbformat.v4.new_code_cell(draw(code), id=cell_id)
            cell.execution_count = draw(st.none() | st.integers(1, 50))
            if draw(st.booleans()):
                cell.outputs = [nbformat.v4.new_output("stream", text=draw(prose))]
            cell.metadata = nbformat.from_dict(draw(roles(cell_id, code=True)))
        else:
            cell = nbformat.v4.new_markdown_cell(draw(prose), id=cell_id)
            cell.metadata = nbformat.from_dict(draw(roles(cell_id, code=False)))
        cells.append(cell)
    meta = {
        "kernelspec": edit.KERNELSPEC,
        "language_info": edit.LANGUAGE,
        "xor2gpt": {"stage": "01_x", "blocked_modules": draw(st.lists(words, max_size=2))},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=meta)


@st.composite
def roles(draw: st.DrawFn, cell_id: str, code: bool) -> dict:
    kind = draw(
        st.sampled_from(["plain", "tags", *(("answer", "check") if code else ("task", "manual"))])
    )
    if kind == "plain":
        return {}
    if kind == "tags":
        tags = draw(
            st.lists(st.sampled_from(["demo", "predict", "photo"]), min_size=1, unique=True)
        )
        return {"tags": tags}
    extra: dict = {"role": kind, "exercise": draw(words)}
    if kind == "task":
        return {"xor2gpt": extra | {"stars": draw(st.integers(1, 3)), "minutes": 5}}
    if kind != "answer":
        extra["objective"] = f"O3.{draw(st.integers(1, 7))}"
    if kind == "manual":
        extra["minutes"] = draw(st.integers(1, 30))
    grades = {
        "grade": kind == "check",
        "grade_id": cell_id,
        "locked": kind != "answer",
        "schema_version": 3,
        "solution": kind == "answer",
        "task": kind == "manual",
    }
    if kind != "answer":
        grades["points"] = draw(st.integers(1, 4))
    return {"nbgrader": grades, "xor2gpt": extra}


@given(notebooks())
def test_round_trip_is_the_identity(tmp_path_factory, notebook: nbformat.NotebookNode) -> None:
    path = tmp_path_factory.mktemp("stage") / "01_x.ipynb"
    stage = Stage(path, notebook)
    again = edit.from_text(edit.to_text(stage), stage)
    assert again == notebook


def test_files_are_written_and_read(course: Course) -> None:
    before = course.path.read_bytes()
    script = edit.write_text(course.root, "01_lines")
    assert script == course.root / ".authoring" / "01_lines.py"
    assert edit.write_notebook(course.root, "01_lines") == course.path
    assert course.path.read_bytes() == before


def test_a_missing_script_or_stage_is_named(course: Course) -> None:
    with pytest.raises(StageError, match="run 'text 01_lines'"):
        edit.write_notebook(course.root, "01_lines")
    with pytest.raises(StageError, match="no stage '02_x'.*stages here: 01_lines"):
        Stage.load(course.root, "02_x")


# --- running ---


def test_run_stores_outputs_and_measures(course: Course) -> None:
    def forget(notebook: nbformat.NotebookNode) -> None:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None

    before = course.stage
    course.change(forget)
    used = edit.run(course.root, "01_lines")
    after = course.stage
    assert used["cpu_seconds"] > 0 and used["memory_mb"] > 10
    assert after.extra["measured"]["memory_mb"] == round(used["memory_mb"])
    assert "CPU-seconds and" in after.cell("title").source
    assert [c.node.execution_count for c in after.cells if c.is_code] == [
        c.node.execution_count for c in before.cells if c.is_code
    ]
    assert after.cell("loss-demo").node.outputs == before.cell("loss-demo").node.outputs


def test_run_names_the_cell_that_fails_and_writes_nothing(course: Course) -> None:
    course.edit("loss-demo", "print", "1 / 0\nprint")
    before = course.path.read_bytes()
    with pytest.raises(StageError, match="01_lines: cell 'loss-demo' fails"):
        edit.run(course.root, "01_lines")
    assert course.path.read_bytes() == before


# --- the texts of a cell ---


def test_reference_and_stub_of_an_answer() -> None:
    assert reference_source(ANSWER) == "def f(x):\n    '''Twice x.'''\n    y = 2 * x\n    return y"
    assert stub_source(ANSWER) == "def f(x):\n    '''Twice x.'''\n    raise NotImplementedError"


def test_stub_lines_take_the_place_of_the_answer() -> None:
    text = ANSWER.replace(
        "    y = 2", "    ### STUB y = x + x + x\n    ### STUB return y\n    y = 2"
    )
    assert stub_source(text).endswith("    y = x + x + x\n    return y")
    assert reference_source(text) == reference_source(ANSWER)


def test_two_regions_in_one_cell() -> None:
    text = ANSWER + "\n\n\n" + ANSWER.replace("def f", "def g")
    assert stub_source(text).count("raise NotImplementedError") == 2


@pytest.mark.parametrize(
    "text, words",
    [
        ("### BEGIN SOLUTION\nx", "never closed"),
        ("x\n### END SOLUTION", "without '### BEGIN SOLUTION'"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "still open"),
        ("### STUB x\n### BEGIN SOLUTION\n### END SOLUTION", "outside a solution region"),
    ],
)
def test_markers_that_do_not_match_are_named(text: str, words: str) -> None:
    with pytest.raises(StageError, match=f"cell 'x'.*{words}"):
        stub_source(text, "cell 'x'")


lines = st.lists(st.sampled_from(["a = 1", "", "    b = 2", "# text", "### c"]), max_size=5)


@given(lines, lines, lines)
def test_outside_is_what_is_not_inside(before: list, inside: list, after: list) -> None:
    text = "\n".join([*before, "### BEGIN HIDDEN TESTS", *inside, "### END HIDDEN TESTS", *after])
    kept = outside(text, "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
    assert kept == "\n".join(before + after)


@given(lines, lines, lines)
def test_a_stub_shows_nothing_of_the_answer(before: list, inside: list, after: list) -> None:
    text = "\n".join(
        [*before, "  ### BEGIN SOLUTION", *inside, "secret()", "  ### END SOLUTION", *after]
    )
    stub = stub_source(text)
    assert "secret" not in stub and "SOLUTION" not in stub
    assert stub == "\n".join([*before, "  raise NotImplementedError", *after])
    assert reference_source(text) == "\n".join([*before, *inside, "secret()", *after])


# --- the course around a stage ---


def test_the_root_is_found_from_below(course: Course) -> None:
    assert repository_root(course.root / "book" / "quizzes") == course.root.resolve()
    assert stage_names(course.root) == ["01_lines"]


def test_outside_a_course_the_error_says_so(tmp_path) -> None:
    with pytest.raises(StageError, match="run this inside a clone"):
        repository_root(tmp_path)


def test_a_stage_knows_its_exercises(course: Course) -> None:
    stage = course.stage
    assert list(stage.exercises) == ["predict", "mse", "gradient", "step", "why-minus"]
    assert [c.id for c in stage.exercises["mse"].checks] == ["mse-check-1", "mse-check-2"]
    assert stage.exercises["mse"].points == 3
    assert stage.max_points == 9
    assert list(stage.objectives) == ["O1.1", "O1.2", "O1.3", "O1.4"]
    assert stage.blocked_modules == ["xor2gpt.autograd"]
    assert stage.cell("mse").where == "solutions/01_lines/01_lines.ipynb: cell 'mse'"
    with pytest.raises(StageError, match="has no cell 'nothing'"):
        stage.cell("nothing")
