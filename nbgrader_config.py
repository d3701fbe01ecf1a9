"""nbgrader's settings for this course.

Does: make plain ``nbgrader generate_assignment | autograde | generate_feedback | export`` work in
this folder, with ``solutions/`` as source and ``notebooks/`` as release directory.
Does not: replace ``python -m autograder``, which grades hostile work in a sandbox. nbgrader runs
students' code as you: use it for work that you trust.

Before you start: the virtual environment's programs must be on PATH (nbgrader calls ``alembic``),
for example ``. .venv/bin/activate``. The gradebook is ``gradebook.db`` in this folder; to keep
it elsewhere (or in PostgreSQL) set ``c.CourseDirectory.db_url``.
"""

c = get_config()  # noqa: F821  (whoever reads this file gives it the name)

c.CourseDirectory.course_id = "xor2gpt"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "notebooks"

# --- generate_assignment: nbgrader's own steps, with three differences.
# ClearOutput is left out: students see what a right answer produces. UncoverStubs stands for
# ClearSolutions: `### STUB` lines become the code that the student sees. ResetCounts is new.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.IncludeHeaderFooter",
    "nbgrader.preprocessors.LockCells",
    "autograder.authoring.preprocessors.UncoverStubs",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.ClearMarkScheme",
    "autograder.authoring.preprocessors.ResetCounts",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# --- autograde: nbgrader's own steps, with two differences.
# KeepGraded takes the tags off graded cells: a check that is tagged "demo" would be skipped, and
# a cell without an error counts as full points. Execute gives the kernel one thread and no data
# but the embedded sets, and goes on with a fresh kernel when an answer kills the first one.
c.Autograde.sanitize_preprocessors = [
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "autograder.authoring.preprocessors.KeepGraded",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "autograder.authoring.preprocessors.Execute",
    "nbgrader.preprocessors.IgnorePattern",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.ExecutePreprocessor.skip_cells_with_tag = "demo"  # worked runs: not needed for the points
c.ExecutePreprocessor.timeout = 30  # seconds a cell; a loop without end costs that, no more
c.ExecutePreprocessor.interrupt_on_timeout = True

# nbgrader takes anything on stderr for a failed check. A warning of NumPy is no wrong answer.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"
