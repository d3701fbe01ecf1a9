"""Who handed in what: naming schemes of learning platforms, safe student ids, the roster.

Does: read the names that nbgrader, Moodle, Canvas and Gradescope give to files and folders; make
safe, repeatable ids; look people up in a roster (CSV).
Does not: trust anything that the student wrote: only names that the platform made.

Sources: Moodle's "Download all submissions" (``Full Name_1234567_assignsubmission_file_``),
Canvas's "Download submissions" (``lastfirst_LATE_USER_SUBMISSION_name``), Gradescope's "Export
submissions" (``submission_ID/`` beside ``submission_metadata.yml``), nbgrader's ``submitted/``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from autograder.authoring.stage import STAGE_NAME
from autograder.intake.files import ARCHIVE, NOTEBOOK, IntakeError, Item, printable
from autograder.model import STUDENT_ID

MOODLE = re.compile(
    r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<plugin>[a-z]+)_?(?P<rest>.*)\Z", re.DOTALL
)
CANVAS = re.compile(
    r"(?P<name>[^_/]+)_(?:(?P<late>LATE)_)?(?P<user>\d+)_(?P<submission>\d+)_(?P<file>.+)\Z",
    re.DOTALL,
)
WRAPPERS = {"submitted", "submissions", "submission"}
METADATA = "submission_metadata.yml"
EXPORT = re.compile(r"assignment_.+_export\Z")
AGAIN = re.compile(r"\s*(?:\((\d{1,4})\)|-(\d{1,4}))\Z")  # "p1 (2)", Canvas's "p1-2"
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)
ROSTER_BYTES = 20 * 2**20


@dataclass
class Hand:
    """What one student handed in: items, and what the platform says about the student."""

    raw: str  # the name as found
    keys: list[str]  # what the roster may know this student by
    unique: bool = False  # the raw name holds a number of the platform: no two are alike
    items: list[Item] = field(default_factory=list)
    received: datetime | None = None
    late: bool = False
    notes: list[str] = field(default_factory=list)


# --- ids -------------------------------------------------------------------------------------


def safe_id(raw: str, *, unique: bool = False) -> str:
    """An id that is safe as a file name, equal for equal names, different for different ones."""
    if STUDENT_ID.match(raw) and not RESERVED.match(raw) and not raw.endswith("."):
        return raw
    plain = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._@+-]+", "-", plain).strip("-._@+")[:80].rstrip("-._@+")
    if unique and STUDENT_ID.match(plain) and not RESERVED.match(plain):
        return plain
    mark = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain or 'student'}-{mark}"


def assign_ids(hands: list[Hand], roster: Roster | None) -> list[tuple[str, Hand]]:
    """A student id for each hand. Two hands of one student by the roster are put together."""
    chosen: dict[str, Hand] = {}
    taken: dict[str, str] = {}  # id without case -> raw name
    for hand in sorted(hands, key=lambda h: h.raw):
        known = roster.find(hand.keys) if roster else None
        wanted = known or safe_id(hand.raw, unique=hand.unique)
        if known and known in chosen:
            first = chosen[known]
            first.items += hand.items
            first.notes.append(f"'{printable(hand.raw)}' is the same student by the roster")
            continue
        if taken.get(wanted.casefold(), hand.raw) != hand.raw:
            mark = hashlib.sha256(hand.raw.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            wanted = f"{wanted[:80]}-{mark}"
        if wanted != hand.raw:
            hand.notes.append(f"'{printable(hand.raw)}' is graded as student '{wanted}'")
        taken[wanted.casefold()] = hand.raw
        chosen[wanted] = hand
    return sorted(chosen.items())


# --- the roster ------------------------------------------------------------------------------

ID_COLUMNS = (
    *("studentid", "student", "id", "sid", "username", "login", "loginid", "sisloginid"),
    *("sisuserid", "sisid", "idnumber", "email", "emailaddress"),
)
FIRST = {"first", "firstname", "givenname", "vorname"}
LAST = {"last", "lastname", "surname", "familyname", "nachname"}


def _plain(text: str) -> str:
    """For comparing names: no case, accents, spaces or punctuation."""
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in text if not unicodedata.combining(c)).casefold()
    return re.sub(r"[^\w]+|_", "", text)


class Roster:
    """The class list. Any column can name a student; the first id column gives the id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: list[str] = []
        self._keys: dict[str, set[str]] = {}
        for row in self._rows():
            self._add(row)
        if not self.ids:
            raise IntakeError(f"{path} lists no student: it needs a header line with 'id' in it")

    def _rows(self) -> list[dict[str, str]]:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise IntakeError(f"the roster {self.path} cannot be read: {error.strerror}") from error
        if len(data) > ROSTER_BYTES:
            raise IntakeError(f"the roster {self.path} is larger than {ROSTER_BYTES} bytes")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        lines = text.splitlines()
        head = lines[0] if lines else ""
        delimiter = max(",;\t", key=head.count)
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
        names = [_plain(cell) for cell in rows[0]] if rows else []
        if not set(names) & {*ID_COLUMNS, *FIRST, *LAST, "name", "fullname"}:
            raise IntakeError(
                f"the roster {self.path} starts with {printable(head)!r}: it needs a header line "
                f"with one of these columns: {', '.join(ID_COLUMNS[:6])}, email"
            )
        return [dict(zip(names, row, strict=False)) for row in rows[1:]]

    def _add(self, row: dict[str, str]) -> None:
        raw = next((row[c].strip() for c in ID_COLUMNS if row.get(c, "").strip()), "")
        first = next((row[c] for c in row if c in FIRST), "")
        last = next((row[c] for c in row if c in LAST), "")
        raw = raw or row.get("name", "") or row.get("fullname", "") or f"{first} {last}".strip()
        if not raw:
            return
        student = safe_id(raw)
        if student not in self.ids:
            self.ids.append(student)
        names = {_plain(value) for value in row.values()}
        names |= {_plain(first + last), _plain(last + first)}
        for name in (row.get("name", ""), row.get("fullname", ""), row.get("student", "")):
            names |= {_plain("".join(reversed(re.split(r",\s*|\s+", name.strip()))))}
            *given, family = name.split() or [""]
            names.add(_plain(family + "".join(given)))
        names |= {_plain(value.split("@")[0]) for value in row.values() if "@" in value}
        for name in names - {""}:
            self._keys.setdefault(name, set()).add(student)

    def find(self, keys: list[str]) -> str | None:
        """The id of the one student that the first telling key belongs to."""
        for key in keys:
            found = self._keys.get(_plain(key), set())
            if len(found) == 1:
                return next(iter(found))
        return None


# --- naming schemes --------------------------------------------------------------------------


def is_metadata(path: tuple[str, ...]) -> bool:
    """Whether this is where Gradescope puts its list; a file in a student's folder is not it."""
    above = path[:-1]
    return path[-1] == METADATA and (
        not above or (len(above) == 1 and bool(EXPORT.match(above[0])))
    )


def stem(name: str) -> str:
    """A file name without the endings of notebooks and archives."""
    for pattern in (NOTEBOOK, ARCHIVE):
        if match := pattern.search(name):
            return name[: match.start()]
    return name


def without_number(name: str) -> tuple[str, int]:
    """``"p1 (2)"`` → ``("p1", 2)``: the number that a browser or platform appends."""
    if match := AGAIN.search(name):
        return name[: match.start()], int(match[1] or match[2])
    return name, 0


def sort_into_hands(items: list[Item], stage: str, source: Path) -> list[Hand]:
    """Group files by student, by the scheme that the names follow."""
    for item in items:
        if item.data and is_metadata(item.path):
            others = [other for other in items if other is not item]
            return _gradescope(others, item.path[:-1], item)
    items = _unwrap(items, stage, source)
    hands: dict[str, Hand] = {}
    for item in items:
        hand = _hand_of(item, stage)
        if hand is not None:
            hands.setdefault(hand.raw, hand).items.append(item)
    for hand in hands.values():
        hand.items, others = _of_stage(hand.items, stage)
        if others and not hand.items:
            hand.raw = ""  # nbgrader: this student handed in other stages only
    return [hand for hand in hands.values() if hand.raw]


def _unwrap(items: list[Item], stage: str, source: Path) -> list[Item]:
    """Take away the one folder that everything lies in, where it is no student's."""
    own = stem(source.name).casefold()
    for _ in range(2):
        tops = {item.path[0] for item in items}
        if len(tops) != 1 or any(len(item.path) < 2 for item in items):
            return items
        name = next(iter(tops)).casefold()
        if name not in WRAPPERS and not (name == own and source.is_file()):
            return items
        items = [_moved(item, item.path[1:]) for item in items]
    return items


def _moved(item: Item, path: tuple[str, ...]) -> Item:
    return Item(**{**item.__dict__, "path": path})


def _hand_of(item: Item, stage: str) -> Hand | None:
    """The student whose file this is, or ``None`` for files that are nobody's."""
    top = item.path[0]
    if match := MOODLE.match(top):
        if match["plugin"] != "file":
            return None
        raw = f"{match['name']}_{match['number']}"
        hand = Hand(raw, [match["number"], match["name"]], unique=True)
        hand.notes.append(f"the platform's name is '{raw}_assignsubmission_file_'")
        return hand
    alone = len(item.path) == 1
    if (match := CANVAS.match(top)) and (alone or ARCHIVE.search(top)):
        hand = Hand(f"{match['name']}_{match['user']}", [match["user"], match["name"]], unique=True)
        hand.notes.append(f"the platform's name is '{top}'")
        if match["late"]:
            hand.late = True
            hand.notes.append("Canvas received it late")
        return hand
    if not alone and not ARCHIVE.search(top):
        return Hand(top, [top])
    handed_in = NOTEBOOK.search(top) or ARCHIVE.search(top)
    if not (handed_in or item.suspicious):
        return None
    name, _ = without_number(stem(top)) if " (" in top else (stem(top), 0)
    name = name.strip() or stem(top)
    return Hand(name, [name])


def _of_stage(items: list[Item], stage: str) -> tuple[list[Item], bool]:
    """nbgrader's ``STUDENT/STAGE/…``: this stage's files, and whether others were there."""
    stages = {
        item.path[1] for item in items if len(item.path) > 2 and STAGE_NAME.match(item.path[1])
    }
    if not stages:
        return items, False
    if stage in stages:
        return [item for item in items if len(item.path) > 2 and item.path[1] == stage], True
    rest = [item for item in items if not (len(item.path) > 2 and item.path[1] in stages)]
    return rest, True


def _gradescope(items: list[Item], above: tuple[str, ...], metadata: Item) -> list[Hand]:
    try:
        known = yaml.safe_load((metadata.data or b"").decode("utf-8-sig"))
    except Exception as error:
        raise IntakeError(f"{METADATA} cannot be read: {printable(str(error), 300)}") from error
    if not isinstance(known, dict):
        raise IntakeError(f"{METADATA} holds no list of submissions")
    hands: list[Hand] = []
    for folder, record in known.items():
        if not isinstance(record, dict):
            continue
        own = [item for item in items if item.path[: len(above) + 1] == (*above, str(folder))]
        own = [_moved(item, item.path[len(above) :]) for item in own]
        received = as_time(record.get(":created_at"))
        people = record.get(":submitters")
        for person in people if isinstance(people, list) and people else [{}]:
            values = person if isinstance(person, dict) else {}
            keys = [values.get(k) for k in (":sid", ":email", ":name")]
            keys = [str(key) for key in keys if key and isinstance(key, str | int)]
            keys = keys or [str(folder)]
            hand = Hand(keys[0], keys, items=list(own), received=received)
            if not own:
                path = (str(folder), "")
                hand.items = [Item(path, problem="Nothing was handed in: the folder is empty.")]
            if isinstance(people, list) and len(people) > 1:
                hand.notes.append(f"handed in as a group of {len(people)}")
            hands.append(hand)
    merged: dict[str, Hand] = {}
    for hand in hands:
        if hand.raw in merged:
            merged[hand.raw].items += hand.items
            times = [t for t in (merged[hand.raw].received, hand.received) if t]
            merged[hand.raw].received = max(times, default=None)
        else:
            merged[hand.raw] = hand
    return list(merged.values())


def as_time(value: Any) -> datetime | None:
    """A platform's time as an aware ``datetime``; without a zone it is UTC."""
    if isinstance(value, str):
        text = re.sub(r"\s*(UTC|Z)\Z", "+00:00", value.strip())
        text = re.sub(r"\s+([+-]\d\d:?\d\d)\Z", r"\1", text)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return None
