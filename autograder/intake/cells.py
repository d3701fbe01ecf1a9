"""Finding a submission's cells again: by id, then by nbgrader's grade_id, then by text.

Does: say for each cell of a submission which cell of the release it stands for; drop prelude,
check and demo cells (the grader runs its own); keep the student's own cells; take manual answers;
flag what a person may want to look at and note how cells were found.
Does not: parse Python (a parser can be made to crash; names are found line by line), or change
points: flags only tell.

The cost is bounded: fuzzy comparison looks at no more than ``FUZZY_PAIRS`` pairs of texts of at
most ``FUZZY_LENGTH`` characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rapidfuzz import fuzz

from autograder.intake.files import printable
from autograder.intake.notebook import Notebook, RawCell
from autograder.manifest import Manifest, ReleasedCell
from autograder.model import Flag, SubmittedCell

DEFINITION = re.compile(
    r"^(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE
)
SAME_TEXT = 75.0  # per cent alike: an edited prelude, check or demo cell that lost its identity
SAME_ANSWER = 60.0  # per cent alike: an answer and its stub
FUZZY_PAIRS = 20_000
FUZZY_LENGTH = 1_500
MOST_NOTES = 30
NOT_RUN = ("prelude", "check", "demo")  # the grader runs its own copies, or none


@dataclass
class Matched:
    """What intake makes of a notebook's cells. ``known`` counts cells of the release found."""

    cells: list[SubmittedCell] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    flags: set[Flag] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    known: int = 0
    changed: int = 0  # answers that are no longer the stub

    def note(self, text: str) -> None:
        if len(self.notes) < MOST_NOTES:
            self.notes.append(text)


@dataclass(frozen=True)
class Claim:
    """A submitted cell that stands, or wants to stand, for a released one."""

    cell: RawCell
    how: str  # id, grade_id or text


def plain(source: str) -> str:
    """A text for comparing: no trailing blanks, no blank lines at the ends."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def names_defined(source: str) -> set[str]:
    """Names that the lines of a cell seem to bind at the left margin."""
    return {match[1] or match[2] for match in DEFINITION.finditer(source)}


class _Matching:
    """One notebook against one release."""

    def __init__(self, notebook: Notebook, manifest: Manifest) -> None:
        self.manifest, self.notebook = manifest, notebook
        self.layout = manifest.layout
        self.place = {cell.id: index for index, cell in enumerate(self.layout)}
        self.by_id = {cell.id: cell for cell in self.layout}
        self.full = {check.id: check.source for check in manifest.checks}  # an instructor's copy
        self.exports = {name: set(names) for name, names in manifest.exports.items()}
        self.claims: dict[str, list[Claim]] = {cell.id: [] for cell in self.layout}
        self.free: dict[int, RawCell] = {}
        self.run: dict[int, SubmittedCell] = {}  # index in the notebook -> what runs
        self.done = Matched()

    # --- who stands for whom ------------------------------------------------------------------

    @staticmethod
    def fits(released: ReleasedCell, cell: RawCell) -> bool:
        if released.role in ("question", "reply", "prose"):
            return cell.kind != "code"
        return cell.kind == "code" or released.role == "answer"

    def by_identity(self) -> None:
        for cell in self.notebook.cells:
            for how, name in (("id", cell.id), ("grade_id", cell.grade_id)):
                released = self.by_id.get(name) if name else None
                if released is not None and self.fits(released, cell):
                    self.claims[released.id].append(Claim(cell, how))
                    break
            else:
                if cell.kind == "code" and cell.source.strip():
                    self.free[cell.index] = cell

    def claim(self, released: ReleasedCell, cell: RawCell) -> None:
        self.claims[released.id].append(Claim(cell, "text"))
        self.free.pop(cell.index, None)

    def by_exact_text(self) -> None:
        texts: dict[str, list[ReleasedCell]] = {}
        for released in self.layout:
            for source in {plain(released.source), plain(self.full.get(released.id, ""))} - {""}:
                if released.role in (*NOT_RUN, "answer", "lesson"):
                    texts.setdefault(source, []).append(released)
        for cell in list(self.free.values()):
            same = texts.get(plain(cell.source), [])
            if same:
                unclaimed = [released for released in same if not self.claims[released.id]]
                self.claim((unclaimed or same)[0], cell)

    def is_changed(self, released: ReleasedCell, claim: Claim) -> bool:
        text = plain(claim.cell.source)
        return text not in (plain(released.source), plain(self.full.get(released.id, "")))

    def by_names(self) -> None:
        """Answers whose cell is gone or untouched, while another cell defines their names."""
        defined = {index: names_defined(cell.source) for index, cell in self.free.items()}
        for released in self.layout:
            wanted = self.exports.get(released.exercise or "", set())
            if released.role != "answer" or not wanted:
                continue
            claims = self.claims[released.id]
            if any(self.is_changed(released, claim) for claim in claims):
                continue
            found = [i for i in self.free if defined[i] & wanted]
            if claims:  # the stub is there: only a cell with all the names takes its place
                found = [i for i in found if defined[i] >= wanted]
            if found:
                best = max(found, key=lambda i: (len(defined[i] & wanted), i))
                self.claim(released, self.free[best])

    def by_likeness(self) -> None:
        """What still has no cell takes the free cell that is most alike, where it is enough."""
        gone = [
            released
            for released in self.layout
            if released.role in (*NOT_RUN, "answer")
            and released.source.strip()
            and not self.claims[released.id]
            and not self.found_elsewhere(released)
        ]
        pairs = [(released, cell) for cell in self.free.values() for released in gone]
        if len(pairs) > FUZZY_PAIRS:
            self.done.note(f"only the first {FUZZY_PAIRS} pairs of cells were compared by text")
        scored = []
        for released, cell in pairs[:FUZZY_PAIRS]:
            enough = SAME_ANSWER if released.role == "answer" else SAME_TEXT
            first, second = plain(released.source)[:FUZZY_LENGTH], plain(cell.source)[:FUZZY_LENGTH]
            score = fuzz.ratio(first, second, score_cutoff=enough)
            if score >= enough:
                scored.append((-score, self.place[released.id], cell.index))
        for _, place, index in sorted(scored):
            released = self.layout[place]
            if index in self.free and not self.claims[released.id]:
                self.claim(released, self.free[index])

    def found_elsewhere(self, released: ReleasedCell) -> bool:
        """Whether some cell defines an answer's names (cells that were joined)."""
        wanted = self.exports.get(released.exercise or "", set())
        if released.role != "answer" or not wanted:
            return False
        sources = [c.cell.source for claims in self.claims.values() for c in claims]
        return any(wanted <= names_defined(source) for source in sources)

    # --- what becomes of them -----------------------------------------------------------------

    def position_fits(self, released: ReleasedCell, index: int) -> bool:
        """Whether the nearest certain cells around ``index`` surround ``released`` in the
        release too."""
        place = self.place[released.id]
        certain = {
            claims[0].cell.index: self.place[name]
            for name, claims in self.claims.items()
            if len(claims) == 1 and claims[0].how != "text"
        }
        before = max((i for i in certain if i < index), default=None)
        after = min((i for i in certain if i > index), default=None)
        return (before is None or certain[before] < place) and (
            after is None or certain[after] > place
        )

    def settle(self) -> None:
        kept: list[tuple[int, int]] = []  # (index in the notebook, place in the release)
        for released in self.layout:
            claims = self.claims[released.id]
            if claims and released.role != "prose":
                self.done.known += 1
            if released.role in NOT_RUN:
                self.drop(released, claims)
            elif released.role in ("answer", "lesson"):
                if claims:
                    kept.append((self.keep(released, claims), self.place[released.id]))
                elif released.role == "answer":
                    self.missing(released)
        indices = [index for index, _ in sorted(kept, key=lambda pair: pair[1])]
        if indices != sorted(indices):
            self.done.flags.add(Flag.REORDERED)
            self.done.note("cells stand in another order than in the release; they run as they do")

    def drop(self, released: ReleasedCell, claims: list[Claim]) -> None:
        changed = [claim for claim in claims if self.is_changed(released, claim)]
        if len(claims) > 1:
            self.done.flags.add(Flag.DUPLICATED_CELL)
        if changed and released.role != "demo" and released.source:
            self.done.flags.add(Flag.TAMPERED_CHECK)
            self.done.note(f"'{released.id}' was edited; the grader uses its own copy")
        if released.role == "prelude":
            for claim in changed:
                self.keep_imports(released, claim.cell)

    def keep_imports(self, released: ReleasedCell, cell: RawCell) -> None:
        """Imports that a student added to the prelude run as a cell of the student's own."""
        known = set(plain(released.source).splitlines())
        added = [
            line
            for line in plain(cell.source).splitlines()
            if re.match(r"(import|from)\s", line) and "(" not in line and line not in known
        ]
        if added:
            self.run[cell.index] = SubmittedCell("", "\n".join(added), "extra")
            self.done.note(f"{len(added)} imports added to '{released.id}' run as an own cell")

    def keep(self, released: ReleasedCell, claims: list[Claim]) -> int:
        changed = [claim for claim in claims if self.is_changed(released, claim)]
        best = min(
            changed or claims,
            key=lambda c: (
                ("id", "grade_id", "text").index(c.how),
                not self.position_fits(released, c.cell.index) if len(claims) > 1 else False,
                c.cell.index,
            ),
        )
        self.run[best.cell.index] = SubmittedCell(released.id, best.cell.source, best.how)
        if released.role == "answer":
            self.done.changed += bool(changed)
            if best.how == "text":
                self.done.flags.add(Flag.MATCHED_BY_TEXT)
                self.done.note(f"'{released.id}' was found by its text, in cell {self.nr(best)}")
            elif best.how == "grade_id":
                self.done.note(
                    f"'{released.id}' was found by its grade_id, in cell {self.nr(best)}"
                )
        others = [claim for claim in claims if claim is not best]
        for other in others:
            same = plain(other.cell.source) == plain(best.cell.source)
            if not same and self.is_changed(released, other):
                self.run[other.cell.index] = SubmittedCell("", other.cell.source, "extra")
        if others:
            self.done.flags.add(Flag.DUPLICATED_CELL)
            numbers = ", ".join(str(self.nr(claim)) for claim in claims[:5])
            self.done.note(
                f"'{released.id}' is there {len(claims)} times (cells {numbers}); cell "
                f"{self.nr(best)} counts as the answer, changed copies run as own cells"
            )
        return best.cell.index

    def missing(self, released: ReleasedCell) -> None:
        if self.found_elsewhere(released):
            self.done.note(f"'{released.id}' was joined with another cell")
            return
        self.done.flags.add(Flag.MISSING_CELL)
        self.done.note(f"'{released.id}' was not found")

    @staticmethod
    def nr(claim: Claim) -> int:
        """How people count cells: from 1."""
        return claim.cell.index + 1

    def own_cells(self) -> None:
        for index, cell in self.free.items():
            self.run[index] = SubmittedCell("", cell.source, "extra")
        number = 0
        for index in sorted(self.run):
            cell = self.run[index]
            if not cell.id:
                number += 1
                while f"extra-{number}" in self.by_id:
                    number += 1
                cell = SubmittedCell(f"extra-{number}", cell.source, "extra")
            self.done.cells.append(cell)

    def counts(self) -> None:
        ways = [claims[0].how for claims in self.claims.values() if claims]
        parts = [f"{ways.count(how)} by {how}" for how in ("id", "grade_id", "text")]
        own = sum(1 for cell in self.done.cells if cell.matched_by == "extra")
        self.done.notes.insert(
            0, f"cells of the release found: {', '.join(parts)}; own cells: {own}"
        )
        checks = [c for c in self.layout if c.role == "check" and not self.claims[c.id]]
        if checks:
            self.done.note(f"{len(checks)} check cells are gone; nothing is lost by that")

    # --- manual answers -----------------------------------------------------------------------

    def replies(self) -> None:
        for question in self.manifest.manual:
            claims = self.claims.get(question.answer_cell or "", [])
            stub = plain(self.by_id[question.answer_cell].source) if question.answer_cell else ""
            if claims:
                changed = [c for c in claims if plain(c.cell.source) != stub]
                best = (changed or claims)[0].cell
                text = "\n\n".join([best.source, *self.written_below(best)])
            else:
                text = self.reply_below_title(question.title)
                if text is None:
                    self.done.flags.add(Flag.MISSING_CELL)
                    self.done.note(f"the answer to '{question.id}' was not found")
                    continue
                self.done.flags.add(Flag.MATCHED_BY_TEXT)
                self.done.note(f"the answer to '{question.id}' was found by the question's title")
            answered = plain(text)
            if answered and answered != stub:
                self.done.changed += 1
            self.done.answers[question.id] = "" if answered == stub else text.strip()

    def is_known(self, cell: RawCell) -> bool:
        return cell.id in self.by_id or cell.grade_id in self.by_id

    def written_below(self, cell: RawCell) -> list[str]:
        """Markdown cells of the student's own that directly follow an answer cell."""
        texts = []
        for below in self.notebook.cells[cell.index + 1 :]:
            if below.kind == "code" or below.id is None or self.is_known(below):
                break
            texts.append(below.source)
        return texts if cell.id in self.by_id else []

    def reply_below_title(self, title: str) -> str | None:
        wanted = plain(title).lstrip("# ")
        cells = self.notebook.cells
        for index, cell in enumerate(cells):
            first = plain(cell.source).split("\n")[0].lstrip("# ")
            if wanted and cell.kind != "code" and first == wanted and index + 1 < len(cells):
                below = cells[index + 1]
                if below.kind != "code" and not below.source.lstrip().startswith("#"):
                    return below.source
        return None


def match(notebook: Notebook, manifest: Manifest) -> Matched:
    """The submission's cells as the engine wants them."""
    work = _Matching(notebook, manifest)
    work.by_identity()
    work.by_exact_text()
    work.by_names()
    work.by_likeness()
    work.settle()
    work.own_cells()
    work.replies()
    work.counts()
    work.done.notes = [printable(note, 300) for note in work.done.notes]
    return work.done
