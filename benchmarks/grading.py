"""Our grader beside nbgrader at its best, on the same files.

Does: make submissions of eight honest kinds for each stage; grade them in turns with this grader
and with nbgrader (its API, in one process, demo cells skipped); compare the points of every cell;
measure CPU-seconds per submission with gradebook writes and without feedback, unique memory per
worker, the gain of a second worker, and the latency of one submission.
Does not: time hostile work, where nbgrader's cost is its time-out, or anything of the network.

    python benchmarks/grading.py                    # all stages; writes benchmarks/results/grading/
    python benchmarks/grading.py 03_xor_backprop --submissions 40 --nbgrader 8 --out /tmp/x

nbgrader takes seconds a submission, so it gets a part of the submissions: in every round the same
number of each kind. Our side pays for its warm-up in every round.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports NumPy; children inherit it

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import nbformat
import psutil
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from common import CpuMeter, figure_lines, metered, write_result  # noqa: E402  (after the path)

from autograder import manifest as manifests  # noqa: E402
from autograder.authoring import mutants  # noqa: E402
from autograder.authoring.nbgrading import (  # noqa: E402
    TemporaryCourse,
    answered,
    reference_answers,
    temporary_course,
)
from autograder.authoring.stage import Stage, stage_names  # noqa: E402
from autograder.gradebook import record  # noqa: E402
from autograder.intake import collect  # noqa: E402
from autograder.manifest import Manifest  # noqa: E402
from autograder.runner import Store, run  # noqa: E402
from autograder.warm import Configuration, Job, WarmReferee  # noqa: E402
from xor2gpt.recipes.base import Figure  # noqa: E402

ROUNDS = 4
KINDS = (
    *("right", "stub", "one-wrong", "several-wrong"),
    *("raises", "half-done", "unusual", "chatty"),
)
Notebook = nbformat.NotebookNode


def make(kind: str, stage: Stage, plan: mutants.Plan, released: Callable[[], Notebook]) -> Notebook:
    """A submission of one honest kind."""
    answers = reference_answers(stage)
    graded = [name for name in plan.mutants if name in answers]

    def mutant(name: str, wrong: bool) -> str:
        found = next(m for m in plan.mutants[name] if m.is_wrong is wrong)
        return found.answer(stage.exercises[name], plan.label)

    changes: dict[str, dict[str, str]] = {
        "right": {},
        "one-wrong": {graded[0]: mutant(graded[0], True)},
        "several-wrong": {name: mutant(name, True) for name in graded[::2]},
        "raises": {graded[-1]: "raise ValueError('not finished yet')"},
        "unusual": {name: mutant(name, False) for name in graded},
        "chatty": {
            graded[0]: "import warnings\nwarnings.warn('look here')\nprint('so far so good')\n"
            + answers[graded[0]]
        },
    }
    if kind == "stub":
        return released()
    if kind == "half-done":
        return answered(released(), {name: answers[name] for name in graded[: len(graded) // 2]})
    notebook = answered(released(), answers | changes[kind])
    if kind == "chatty":
        notebook.cells.append(nbformat.v4.new_code_cell("for i in range(50):\n    print(i, i * i)"))
    return notebook


@dataclass
class Measured:
    """What was measured for one stage."""

    ours: list[float] = field(default_factory=list)  # CPU-seconds of a round
    theirs: list[float] = field(default_factory=list)
    graded: int = 0  # submissions of all rounds
    compared: int = 0  # of them, graded by nbgrader too
    differing: list[str] = field(default_factory=list)
    walls: dict[str, list[float]] = field(default_factory=dict)
    latency: list[float] = field(default_factory=list)
    uss: dict[str, list[float]] = field(default_factory=dict)


def submit_all(course: TemporaryCourse, stage: Stage, plan: mutants.Plan, number: int) -> list[str]:
    """Put ``number`` submissions where both graders look; the students' names."""
    students = []
    for k in range(number):
        kind = KINDS[k % len(KINDS)]
        students.append(f"{kind}-{k:03}")
        course.submit(students[-1], make(kind, stage, plan, course.released))
    return students


def folder_of(course: TemporaryCourse, students: list[str], place: Path) -> Path:
    """A folder with the submissions of some students only: the same files."""
    shutil.rmtree(place, ignore_errors=True)
    for student in students:
        shutil.copytree(course.root / "submitted" / student, place / student)
    return place


def rounds(
    course: TemporaryCourse,
    plan: Manifest,
    students: list[str],
    nbgrader: int,
    meter: CpuMeter,
    work: Path,
    found: Measured,
) -> None:
    """Grade in turns: ours a share of all, nbgrader a part of that share, kinds in balance."""
    share, part = len(students) // ROUNDS, nbgrader // ROUNDS
    for turn in range(ROUNDS):
        mine = students[turn * share : (turn + 1) * share]
        source, out = folder_of(course, mine, work / "in"), work / f"out-{turn}"
        url = f"sqlite:///{work}/ours-{turn}.db"
        record(course.root, plan, _empty(plan, out), db_url=url)  # the stage is known already
        with metered(meter, found.ours):
            run(plan, collect(source, plan), out, progress=False)
            record(course.root, plan, out, db_url=url, autograded=work / f"graded-{turn}")
        both = mine[:part]
        with metered(meter, found.theirs):
            points = {student: course.autograde(student) for student in both}
        found.graded += len(mine)
        found.compared += len(both)
        for student in both:
            result = Store(out).result(Store(out).published(student))
            assert result is not None
            ours = {check.id: check.points for check in result.checks}
            theirs = {name: points[student][name] for name in ours}
            if ours != theirs:
                lost = sorted(name for name in ours if ours[name] != theirs[name])
                found.differing.append(f"{student}: {', '.join(lost)}")


def _empty(plan: Manifest, out: Path) -> Path:
    run(plan, [], out, progress=False)
    return out


def scaling(plan: Manifest, source: Path, work: Path, found: Measured, repeats: int = 5) -> None:
    """Seconds a submission with one worker and with two, from the first result to the last."""
    submissions = collect(source, plan)
    for repeat in range(repeats):
        for workers in (1, 2):
            out = work / f"scale-{workers}-{repeat}"
            run(plan, submissions, out, workers=workers, progress=False)
            times = sorted(p.stat().st_mtime for p in (out / "results").glob("*.json"))
            pace = (times[-1] - times[0]) / (len(times) - 1)
            found.walls.setdefault(str(workers), []).append(pace)


def latency(plan: Manifest, source: Path, work: Path, found: Measured) -> None:
    """Seconds from handing a submission to a warm referee to its result, one at a time."""
    store = Store(work / "latency")
    path = store.put_manifest(plan)
    with WarmReferee(Configuration(str(path), plan.digest)) as referee:
        for number, submission in enumerate(collect(source, plan)):
            sha256 = store.put_submission(submission)
            target = str(store.by_key(str(number)))
            began = time.perf_counter()
            referee.submit(Job(number, str(store.submission(sha256)), sha256, target, 1))
            [report] = referee.reports()
            found.latency.append(time.perf_counter() - began)
            assert report.ok, report


def _role(process: psutil.Process) -> str | None:
    """Of a process of a grading: who shares its memory with whom."""
    line, parent = " ".join(process.cmdline()), process.parent()
    above = " ".join(parent.cmdline()) if parent else ""
    if "autograder.zygote" in line and not line.startswith("bwrap"):
        return "warm interpreter" if above.startswith("bwrap") else "sandbox child"
    if "autograder.warm" in line:
        return "grader" if "autograder.warm" in above else "warm referee"
    if "ipykernel" in line:
        return "kernel of nbgrader"
    return None


def memory(grade: Callable[[], Any], found: Measured, workers: int = 1) -> None:
    """The most unique memory (USS) that the processes of each role had, summed at one moment."""
    own, stop = psutil.Process(), threading.Event()
    peaks: dict[str, float] = {}

    def look() -> None:
        while not stop.wait(0.01):
            sums: dict[str, float] = {}
            for process in own.children(recursive=True):
                try:
                    if role := _role(process):
                        megabytes = process.memory_full_info().uss / 2**20
                        sums[role] = sums.get(role, 0.0) + megabytes
                except (psutil.Error, OSError):
                    continue
            per_worker = sums.get("grader", 0.0) + sums.get("sandbox child", 0.0)
            sums["per worker"] = per_worker / workers
            for role, value in sums.items():
                peaks[role] = max(peaks.get(role, 0.0), value)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    grade()
    stop.set()
    thread.join()
    for role, value in peaks.items():
        found.uss.setdefault(role, []).append(value)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(name: str, submissions: int, nbgrader: int, meter: CpuMeter) -> Measured:
    """Everything about one stage."""
    stage, plan = Stage.load(ROOT, name), mutants.load(ROOT, name)
    built, found = manifests.build(ROOT, name), Measured()
    with temporary_course(ROOT, name) as course, tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(course.root / "notebooks", work / "notebooks")
        students = submit_all(course, stage, plan, submissions)
        rounds(course, built, students, nbgrader, meter, work, found)
        one_of_each = folder_of(course, students[: len(KINDS)], work / "each")
        every = folder_of(course, students[: min(submissions, 64)], work / "every")
        scaling(built, every, work, found)
        latency(built, every, work, found)
        for turn in range(2):
            given, out = collect(one_of_each, built), work / f"memory-{turn}"
            memory(lambda g=given, o=out: run(built, g, o, workers=2, progress=False), found, 2)
        memory(lambda: course.autograde(students[0]), found)
    return found


def figures_of(name: str, found: Measured) -> list[Figure]:
    ours = sum(found.ours) / found.graded
    theirs = sum(found.theirs) / found.compared
    one, two = (min(found.walls[workers]) for workers in ("1", "2"))
    return [
        Figure(f"cpu_ratio_vs_nbgrader.{name}", ours / theirs, "1"),
        Figure(f"cpu_seconds_per_submission.{name}", ours, "s"),
        Figure(f"nbgrader_cpu_seconds_per_submission.{name}", theirs, "s"),
        Figure(f"points_differ.{name}", len(found.differing), "submissions"),
        Figure(f"uss_mb_per_worker.{name}", max(found.uss["per worker"]), "MB"),
        Figure(f"nbgrader_uss_mb.{name}", max(found.uss["kernel of nbgrader"]), "MB"),
        Figure(f"speedup_2_workers.{name}", one / two, "1"),
        Figure(f"p50_latency.{name}", percentile(found.latency, 0.50), "s"),
        Figure(f"p95_latency.{name}", percentile(found.latency, 0.95), "s"),
    ]


def worst(figures: list[Figure]) -> list[Figure]:
    """The figures of all stages together: the worst of each."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(figure.name.partition(".")[0], []).append(figure)
    wanted = {
        "cpu_ratio_vs_nbgrader": max,
        "cpu_seconds_per_submission": max,
        "uss_mb_per_worker": max,
        "speedup_2_workers": min,
        "p95_latency": max,
    }
    return [
        Figure(name, choose(figure.value for figure in found[name]), found[name][0].unit)
        for name, choose in wanted.items()
    ]


def main(
    stages: Annotated[list[str] | None, typer.Argument(help="Stages; default: all.")] = None,
    submissions: Annotated[int, typer.Option(help="Of each stage, for our grader.")] = 200,
    nbgrader: Annotated[int, typer.Option(help="Of them, graded by nbgrader too.")] = 64,
    out: Annotated[Path | None, typer.Option(help="Instead of benchmarks/results.")] = None,
) -> None:
    """Our grader beside nbgrader, on the same files."""
    least = ROUNDS * len(KINDS)
    for option, value in (("--submissions", submissions), ("--nbgrader", nbgrader)):
        if value < least or value % least and option == "--nbgrader":
            raise typer.BadParameter(f"{option} {value}: a multiple of {least} keeps the balance")
    if nbgrader > submissions:
        raise typer.BadParameter("--nbgrader cannot be more than --submissions")
    everything: list[Figure] = []
    for name in stages or stage_names(ROOT):
        began = time.perf_counter()
        with CpuMeter() as meter:
            found = measure(name, submissions, nbgrader, meter)
            cpu = meter.seconds
        figures = figures_of(name, found)
        write_result(
            "grading",
            name,
            description=(
                f"{found.graded} submissions of {len(KINDS)} honest kinds in {ROUNDS} rounds, "
                f"{found.compared} of them graded by nbgrader too (its API, one process, demo cells"
                " skipped), in turns on the same files. CPU-seconds of the whole process tree from "
                "a control group, with intake, our warm-up in every round and gradebook writes "
                "(SQLite), without feedback. Memory is unique memory (USS): grader and sandboxed "
                "child of one worker, above one warm referee and one warm interpreter. Speed-up: "
                "seconds from the first result to the last, the best of five runs each (other "
                "work on the machine only makes it slower)."
            ),
            figures=figures,
            measured={
                "kinds": KINDS,
                "cpu_seconds_of_rounds": {"ours": found.ours, "nbgrader": found.theirs},
                "submissions": {"ours": found.graded, "nbgrader": found.compared},
                "points_differ": found.differing,
                "seconds_per_submission_by_workers": found.walls,
                "latency_seconds": {"mean": mean(found.latency), "max": max(found.latency)},
                "uss_mb_by_role": {role: max(values) for role, values in found.uss.items()},
            },
            seconds={"wall": time.perf_counter() - began, "cpu": cpu},
            out=out,
        )
        everything += figures
        print(figure_lines(figures), flush=True)
    print(figure_lines(worst(everything)))


if __name__ == "__main__":
    typer.run(main)
