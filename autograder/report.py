"""The class report: how a stage went for everybody, as a page and as JSON.

Does: distribution of points; difficulty, discrimination and commonest messages of each check;
verdicts, time and memory; who was late, what looks suspicious, what a person still has to grade.
Every plot stands beside the table of its numbers.
Does not: grade, compare texts (``similarity``), or show anything to students: the page is for
staff, also in its anonymous form.

Difficulty is the share that passed. Discrimination is the point-biserial correlation of passing a
check with the points of the *other* checks (corrected item-total correlation; Ebel and Frisbie,
Essentials of Educational Measurement, 5th ed., chapter 13). It is not given for small classes.
"""

from __future__ import annotations

import base64
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from autograder import pages
from autograder.feedback import WORDS, hidden_lines, stage_heading, without_source
from autograder.manifest import Manifest
from autograder.model import Flag, Result, Verdict
from xor2gpt import plots

LEAST = 20  # results below which discrimination is noise: its standard error is above 0.22
LEAST_EACH = 3  # passes and fails that there must be at least
NOT_ITEMS = (Verdict.INVALID, Verdict.INTERNAL)  # say nothing about a check
MESSAGES = 3
LISTED = 300  # names in a list of the page; report.json has all
BACKGROUND = {"light": "#ffffff", "dark": "#121212"}


# --- numbers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """n, mean and quantiles of some numbers; ``None`` where there are too few."""

    n: int
    mean: float | None = None
    sd: float | None = None
    p50: float | None = None
    p95: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            return cls(0)
        p50, p95 = np.percentile(values, [50, 95]).tolist()
        sd = statistics.stdev(values) if len(values) > 1 else None
        return cls(len(values), statistics.fmean(values), sd, p50, p95, max(values))


@dataclass(frozen=True)
class Item:
    """One check over the class. ``discrimination`` is ``None`` where ``why_not`` says why."""

    id: str
    exercise: str
    max_points: float
    n: int
    passed: int
    discrimination: float | None
    why_not: str
    verdicts: dict[str, int]
    messages: list[tuple[str, int]]

    @property
    def share(self) -> float | None:
        return self.passed / self.n if self.n else None


@dataclass(frozen=True)
class Question:
    id: str
    max_points: float
    n: int
    waiting: int
    mean: float | None


@dataclass(frozen=True)
class Report:
    """All numbers of the page; ``to_json`` is report.json."""

    stage: str
    manifest: str
    other_manifests: int  # results that were graded with another manifest
    n: int
    points: Spread
    max_points: float
    bins: list[tuple[float, float, int]]  # from, to, students
    verdicts: dict[str, int]
    items: list[Item]
    questions: list[Question]
    seconds: Spread
    memory_mb: Spread
    suspicious: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    look_at: list[str] = field(default_factory=list)  # INTERNAL or NEEDS_HUMAN
    unread: list[str] = field(default_factory=list)
    flags: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        data = asdict(self)
        for entry, item in zip(data["items"], self.items, strict=True):
            entry["share_passed"] = item.share
        return json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def discrimination(passed: Sequence[bool], rest: Sequence[float]) -> tuple[float | None, str]:
    """Point-biserial correlation of ``passed`` with the ``rest`` of the points, or ``None`` and
    the reason why it is not given."""
    n, good = len(passed), sum(passed)
    if n < LEAST:
        return None, f"n = {n}, fewer than {LEAST}"
    if min(good, n - good) < LEAST_EACH:
        return None, f"fewer than {LEAST_EACH} passed" if good < LEAST_EACH else (
            f"fewer than {LEAST_EACH} failed"
        )
    if max(rest) == min(rest):
        return None, "all have the same other points"
    value = float(np.corrcoef(np.asarray(passed, dtype=float), np.asarray(rest))[0, 1])
    return (value, "") if math.isfinite(value) else (None, "not defined")


def _item(manifest: Manifest, index: int, results: Sequence[Result], hidden: frozenset) -> Item:
    check = manifest.checks[index]
    found = [
        (given, result)
        for result in results
        for given in result.checks
        if given.id == check.id and given.verdict is not Verdict.INTERNAL
    ]
    passed = [given.verdict is Verdict.AC for given, _ in found]
    rest = [result.points - given.points for given, result in found]
    value, why_not = discrimination(passed, rest)
    said = Counter(
        pages.cut(without_source(given.message, hidden), length=300, lines=3).text
        for given, _ in found
        if given.verdict is not Verdict.AC and given.message
    )
    return Item(
        id=check.id,
        exercise=check.exercise,
        max_points=check.points,
        n=len(found),
        passed=sum(passed),
        discrimination=value,
        why_not=why_not,
        verdicts=dict(sorted(Counter(str(given.verdict) for given, _ in found).items())),
        messages=sorted(said.items(), key=lambda entry: (-entry[1], entry[0]))[:MESSAGES],
    )


def _bins(points: Sequence[float], most: float) -> list[tuple[float, float, int]]:
    """Students per bin of points. The last bin holds its upper end: full points have their own."""
    if not points:
        return []
    top = max(most, *points, 1.0)
    width = max(1.0, math.ceil(top / 20))
    edges = np.arange(0.0, top + 2 * width, width)
    counts, _ = np.histogram(points, bins=edges)
    bins = [(float(a), float(a + width), int(c)) for a, c in zip(edges, counts, strict=False)]
    while bins and bins[-1][0] > top:
        bins.pop()
    return bins


def summarise(manifest: Manifest, results: Iterable[Result], namer: pages.Namer) -> Report:
    """All numbers of the report. Raises ``ValueError`` for results of another stage."""
    ordered = sorted(results, key=lambda result: result.student)
    if foreign := [result for result in ordered if result.stage != manifest.stage]:
        raise ValueError(
            f"{len(foreign)} results are of stage {pages.for_log(foreign[0].stage)!r}, not of "
            f"{manifest.stage!r}: report one stage at a time"
        )
    points = [r.points for r in ordered if r.verdict is not Verdict.INTERNAL]
    ran = [result for result in ordered if result.verdict not in NOT_ITEMS]
    hidden = hidden_lines(manifest)

    def names(chosen: Callable[[Result], bool]) -> list[str]:
        return sorted(namer.name(result.student) for result in ordered if chosen(result))

    questions = []
    for question in manifest.manual:
        given = [q for result in ordered for q in result.manual if q.id == question.id]
        graded = [q.points for q in given if q.points is not None]
        mean = statistics.fmean(graded) if graded else None
        waiting = len(given) - len(graded)
        questions.append(Question(question.id, question.max_points, len(given), waiting, mean))
    flags = Counter(str(flag) for result in ordered for flag in set(result.flags))
    return Report(
        stage=manifest.stage,
        manifest=manifest.digest,
        other_manifests=sum(result.manifest != manifest.digest for result in ordered),
        n=len(ordered),
        points=Spread.of(points),
        max_points=manifest.max_points,
        bins=_bins(points, manifest.max_points),
        verdicts=dict(Counter(str(result.verdict) for result in ordered).most_common()),
        items=[_item(manifest, index, ran, hidden) for index in range(len(manifest.checks))],
        questions=questions,
        seconds=Spread.of([result.cpu_seconds for result in ran]),
        memory_mb=Spread.of([result.peak_memory_mb for result in ran if result.peak_memory_mb]),
        suspicious=names(lambda result: Flag.SUSPICIOUS in result.flags),
        late=names(lambda result: Flag.LATE in result.flags),
        look_at=names(lambda r: r.verdict in (Verdict.INTERNAL, Verdict.NEEDS_HUMAN)),
        unread=names(lambda result: result.verdict is Verdict.INVALID),
        flags=dict(flags.most_common()),
    )


# --- plots ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A plot in both styles as data: URIs, with its text alternative."""

    light: str
    dark: str
    alt: str
    width: int
    height: int


def _picture(draw: Callable[[Axes], None], alt: str, size: tuple[float, float]) -> Picture:
    shown: dict[str, str] = {}
    for style in ("light", "dark"):
        with mpl.rc_context():
            plots.use_style(style)
            figure = Figure(figsize=size, facecolor=BACKGROUND[style], layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure.add_subplot())
            stream = BytesIO()
            figure.savefig(stream, format="png", dpi=130, metadata={"Software": None})
        shown[style] = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    width, height = (round(100 * inches) for inches in size)
    return Picture(shown["light"], shown["dark"], alt, width, height)


def _of_points(report: Report, points: Sequence[float]) -> Picture:
    edges = [low for low, _, _ in report.bins] + [report.bins[-1][1]]
    if edges[1] - edges[0] == 1:
        edges = [edge - 0.5 for edge in edges]  # whole points: each bar above its number

    def draw(ax: Axes) -> None:
        plots.histogram(ax, {"mean": list(points)}, bins=edges, xlabel="points", ylabel="students")
        ax.set_title("Points from automatic checks")
        ax.yaxis.get_major_locator().set_params(integer=True)

    low, high, count = max(report.bins, key=lambda entry: entry[2])
    alt = (
        f"Histogram of the points of {report.points.n} students: mean {report.points.mean:.1f} of "
        f"{report.max_points:g}, most students ({count}) from {low:g} to below {high:g}."
    )
    return _picture(draw, alt, (5.6, 3.8))


def _of_items(items: Sequence[Item]) -> Picture:
    height = max(2.2, 0.34 * len(items) + 1.2)

    def draw(ax: Axes) -> None:
        colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
        shares = [100 * (item.share or 0.0) for item in items]
        ax.barh(range(len(items)), shares, color=colours[0], height=0.66)
        ax.set_yticks(range(len(items)), [pages.cut(i.id, length=28).text for i in items])
        ax.invert_yaxis()
        ax.set_xlim(0, 100)
        ax.set_xlabel("passed (% of students)")
        ax.set_title("How many passed each check")
        ax.grid(axis="y", visible=False)

    hardest = min(items, key=lambda item: item.share or 0.0)
    alt = (
        f"Bars: the share of students who passed each of {len(items)} checks; fewest passed "
        f"{hardest.id} ({100 * (hardest.share or 0.0):.0f} %)."
    )
    return _picture(draw, alt, (5.6, height))


def _of_numbers(values: Sequence[float], title: str, xlabel: str) -> Picture:
    def draw(ax: Axes) -> None:
        plots.histogram(ax, {"mean": list(values)}, bins=20, xlabel=xlabel, ylabel="submissions")
        ax.set_title(title)
        ax.yaxis.get_major_locator().set_params(integer=True)

    spread = Spread.of(values)
    alt = (
        f"Histogram: {title.lower()} of {spread.n} submissions, median {spread.p50:.3g}, "
        f"95th percentile {spread.p95:.3g}, largest {spread.max:.3g} ({xlabel})."
    )
    return _picture(draw, alt, (5.6, 3.8))


def _pictures(report: Report, results: Sequence[Result]) -> dict[str, Picture | None]:
    ran = [result for result in results if result.verdict not in NOT_ITEMS]
    pictures: dict[str, Picture | None] = dict.fromkeys(
        ("points", "difficulty", "seconds", "memory")
    )
    if report.bins:
        points = [r.points for r in results if r.verdict is not Verdict.INTERNAL]
        pictures["points"] = _of_points(report, points)
    if shown := [item for item in report.items if item.n]:
        pictures["difficulty"] = _of_items(shown[:60])
    if seconds := [result.cpu_seconds for result in ran if result.cpu_seconds]:
        pictures["seconds"] = _of_numbers(seconds, "Processor time", "CPU seconds")
    if memory := [result.peak_memory_mb for result in ran if result.peak_memory_mb]:
        pictures["memory"] = _of_numbers(memory, "Peak memory", "MB")
    return pictures


# --- the page -------------------------------------------------------------------------------------


def _listed(names: Sequence[str]) -> dict[str, Any]:
    return {"names": list(names[:LISTED]), "more": max(0, len(names) - LISTED)}


def write_report(
    manifest: Manifest,
    results: Iterable[Result],
    out: Path,
    *,
    anonymous: bool = False,
    key: bytes | None = None,
    course_title: str = "From XOR to GPT",
    stage_title: str | None = None,
) -> Path:
    """Write ``OUT/report.html`` and ``OUT/report.json``; return the page's path.

    Works for no result, one, or thousands. ``anonymous`` replaces ids by pseudonyms
    (``pages.read_key`` gives the ``key``). Raises ``ValueError`` for results of another stage.
    """
    namer = pages.Namer.choose(anonymous, key)
    results = list(results)
    if namer.key is not None:
        results = [_masked(result, namer) for result in results]
        namer = pages.Namer()
    report = summarise(manifest, results, namer)
    html = pages.render(
        "report.html",
        course_title=course_title,
        stage_title=stage_title or stage_heading(manifest.stage),
        report=report,
        least=LEAST,
        least_each=LEAST_EACH,
        pictures=_pictures(report, results),
        words={str(verdict): words for verdict, words in WORDS.items()},
        suspicious=_listed(report.suspicious),
        late=_listed(report.late),
        look_at=_listed(report.look_at),
        unread=_listed(report.unread),
    )
    pages.write_text(out / "report.json", report.to_json())
    return pages.write_text(out / "report.html", html)


def _masked(result: Result, namer: pages.Namer) -> Result:
    """A result whose student has a pseudonym, also where messages name the student."""
    checks = [
        replace(check, message=namer.mask(check.message, result.student)) for check in result.checks
    ]
    return replace(result, student=namer.name(result.student), checks=checks)
