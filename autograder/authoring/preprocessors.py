"""nbgrader preprocessors of this course; ``nbgrader_config.py`` puts them in their places.

Does: uncover ``### STUB`` lines when the student edition is made, reset execution counts, keep
graded cells from being skipped, and run a submission's kernel with the course's environment.
Does not: hold the rules of the markers (``stage.stub_source``) or decide a grade (nbgrader).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader import utils
from nbgrader.preprocessors import ClearSolutions, NbGraderPreprocessor
from nbgrader.preprocessors import Execute as NbGraderExecute

from autograder.authoring.edit import kernel_environment
from autograder.authoring.stage import Cell, StageError, stub_source

Resources = dict[str, Any]


def place(cell: NotebookNode, resources: Resources, index: int) -> str:
    """``solutions/NN/NN.ipynb: cell 'id'`` for a message."""
    names = resources.get("nbgrader", {})
    label = f"solutions/{names.get('assignment', '?')}/{names.get('notebook', '?')}.ipynb"
    return Cell(cell, index, label).where


class UncoverStubs(ClearSolutions):
    """``ClearSolutions`` with stubs of the cell's own: see ``stage.stub_source``."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, cell_index: int
    ) -> tuple[NotebookNode, Resources]:
        where = place(cell, resources, cell_index)
        if cell.cell_type != "code":
            if utils.is_solution(cell):
                raise StageError(
                    f"{where}: a Markdown cell cannot be a solution cell: use a manual question"
                )
            return cell, resources
        stub = stub_source(cell.source, where)
        if utils.is_solution(cell) and stub == cell.source:
            raise StageError(
                f"{where}: a solution cell without '### BEGIN SOLUTION': the student edition "
                "would show the answer. Put the markers around it"
            )
        if not utils.is_solution(cell) and stub != cell.source:
            raise StageError(
                f"{where}: '### BEGIN SOLUTION' in a cell that is no solution cell: "
                "give the cell the role answer"
            )
        for words in ("BEGIN SOLUTION", "END SOLUTION", "### STUB"):
            if words in stub:
                raise StageError(f"{where}: a line with {words!r} is not exactly the marker")
        cell.source = stub
        return cell, resources


class ResetCounts(NbGraderPreprocessor):
    """Execution counts and timings go; outputs stay."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, cell_index: int
    ) -> tuple[NotebookNode, Resources]:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
        return cell, resources


class KeepGraded(NbGraderPreprocessor):
    """Takes the tags off cells that nbgrader knows, so that no tag can skip them."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, cell_index: int
    ) -> tuple[NotebookNode, Resources]:
        if "nbgrader" in cell.metadata:
            cell.metadata.pop("tags", None)
        return cell, resources


class Execute(NbGraderExecute):
    """Runs a submission in a kernel with :func:`kernel_environment`.

    When a cell kills the kernel, that cell counts as failed; a fresh kernel repeats what came
    before it, without the checks and without the cells that killed a kernel, and goes on.
    """

    most_deaths = 5  # then the submission is given up, as nbgrader does at the first

    def preprocess(
        self, nb: NotebookNode, resources: Resources, km: Any = None
    ) -> tuple[NotebookNode, Resources]:
        self.deadly: set[int] = set()
        self.sockets = Path(tempfile.mkdtemp(prefix="nb"))
        try:
            return super().preprocess(nb, resources, km)
        finally:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        if os.name != "nt":  # files, not ports: private, and nothing to listen to
            manager.transport = "ipc"
            manager.connection_file = str(self.sockets / f"k{len(self.deadly)}.json")
            manager.ip = str(self.sockets / f"s{len(self.deadly)}")
        return manager

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        kwargs["env"] = kernel_environment()
        await super().async_start_new_kernel(**kwargs)

    start_new_kernel = run_sync(async_start_new_kernel)

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, index: int
    ) -> tuple[NotebookNode, Resources]:
        try:
            return super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            self.deadly.add(index)
            if len(self.deadly) > self.most_deaths:
                raise
            self.log.warning("Cell %d killed the kernel; going on with a fresh one", index)
            cell.outputs.append(
                new_output(
                    "error",
                    ename="DeadKernelError",
                    evalue="this cell ended the Python process",
                    traceback=["DeadKernelError: this cell ended the Python process"],
                )
            )
            self._fresh_kernel(resources, index)
            return cell, resources

    def _fresh_kernel(self, resources: Resources, index: int) -> None:
        """A new kernel in the state that the cells before ``index`` leave behind."""
        self._cleanup_kernel()
        self.km = self.create_kernel_manager()
        self.start_new_kernel()
        self.start_new_kernel_client()
        for i, earlier in enumerate(self.nb.cells[:index]):
            if earlier.cell_type == "code" and i not in self.deadly and not utils.is_grade(earlier):
                again = NotebookNode(earlier, outputs=[])
                super().preprocess_cell(again, resources, i)
