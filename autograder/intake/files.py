"""Safe reading: every file of a folder or an archive, one after the other, without extracting.

Does: walk a folder, a zip or a tar (gz, bz2, xz) and yield what is in it; follow no link, open no
pipe or device; measure sizes and compression ratios while reading, and believe no header.
Does not: write anything to disk, decide whose file it is (``people``) or read notebooks.

What cannot or may not be read is yielded with a ``problem``: a sentence for the student.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import os
import re
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 2**18
XZ_MEMORY = 256 * 2**20  # bytes that an xz stream may ask for
ARCHIVE = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz)\Z", re.IGNORECASE)
NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?\Z", re.IGNORECASE)
JUNK = re.compile(
    r"(__MACOSX|\.ipynb_checkpoints|__pycache__|\.git)\Z"
    r"|\._|\.DS_Store\Z|Thumbs\.db\Z|desktop\.ini\Z|\.~lock"
)
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class IntakeError(Exception):
    """What the caller gave cannot be read at all; the message says why and what to do."""


@dataclass(frozen=True)
class Caps:
    """What is read at most. Sizes are in MiB and are measured while reading."""

    file_mb: float = 256  # one file
    student_mb: float = 512  # all files of one student, after unpacking
    total_mb: float = 65_536  # everything, after unpacking
    members: int = 100_000  # entries of the archive or folder
    student_members: int = 2_000  # entries of a student's own archive
    depth: int = 10  # folders inside folders
    ratio: float = 300  # unpacked : packed, once a file is beyond 8 MiB
    values: int = 2_000_000  # JSON values of a notebook
    cells: int = 3_000  # cells of a notebook
    source_mb: float = 4  # all cells' text of a notebook
    notebooks: int = 40  # notebooks of one student that are looked at


@dataclass(frozen=True)
class Item:
    """One file. ``path`` is relative and safe to show; ``data`` is only there for wanted files.

    ``modified`` is the time (seconds since 1970) that the folder or the *outer* archive gives;
    for a file in a student's own archive it is the archive's. ``own_time`` is the file's own.
    """

    path: tuple[str, ...]
    data: bytes | None = None
    problem: str | None = None
    suspicious: bool = False
    modified: float | None = None
    own_time: float | None = None
    names: int = 1  # hard links
    key: int | None = None  # what the caller calls the data, once it was looked at

    @property
    def name(self) -> str:
        return self.path[-1]


Wanted = Callable[[tuple[str, ...]], bool]


def printable(text: str, length: int = 100) -> str:
    """A name as it may be shown: no control characters, no surrogates, at most ``length``."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= length else text[: length - 1] + "…"


def escaped(name: str) -> str:
    """A name in which everything odd is written as ``\\x0a``: different names stay different."""

    def one(c: str) -> str:
        if c.isprintable() and c != "\\":
            return c
        return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}"

    return "".join(map(one, name))


def is_junk(path: tuple[str, ...]) -> bool:
    """Files that operating systems and Jupyter leave behind."""
    return any(JUNK.match(part) for part in path)


def wanted_by_default(path: tuple[str, ...]) -> bool:
    return bool(NOTEBOOK.search(path[-1]))


class Budget:
    """Counts bytes, per student (first part of the path) and in all."""

    def __init__(self, caps: Caps) -> None:
        self.caps, self.total, self.students = caps, 0, {}

    def room(self, path: tuple[str, ...]) -> int:
        """Bytes that this file may still have."""
        used = self.students.get(path[0], 0)
        left = min(self.caps.file_mb * 2**20, self.caps.student_mb * 2**20 - used)
        return int(min(left, self.caps.total_mb * 2**20 - self.total))

    def spend(self, path: tuple[str, ...], size: int) -> None:
        self.students[path[0]] = self.students.get(path[0], 0) + size
        self.total += size


class Refused(Exception):
    """A file may not be read; the text is a sentence for the student."""


def read_capped(stream: BinaryIO | Any, room: int, caps: Caps, name: str) -> bytes:
    """All bytes of ``stream``. Raises :class:`Refused` beyond ``room``."""
    parts, size = [], 0
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size > room:
            raise Refused(
                f"'{name}' is too large: at most {caps.file_mb:g} MiB a file and "
                f"{caps.student_mb:g} MiB a student are read. Clear the outputs (in Jupyter: "
                "Edit, Clear Outputs of All Cells), save, and hand in again."
            )
        parts.append(chunk)
    return b"".join(parts)


def safe_parts(name: str) -> tuple[tuple[str, ...], str | None]:
    """An archive member's path in parts, and what is wrong with it (``None``: nothing)."""
    shown = printable(name)
    parts = tuple(part for part in re.split(r"[/\\]", name) if part not in ("", ".", ".."))
    clean = tuple(escaped(part) for part in parts) or ("?",)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return clean, f"the archive holds an absolute path, '{shown}'"
    if ".." in re.split(r"[/\\]", name):
        return clean, f"the archive holds a path that leads out of it, '{shown}'"
    if "\\" in name:
        return clean, f"the archive holds a path with a backslash, '{shown}'"
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        return clean, f"the archive holds a name with control characters, '{shown}'"
    return clean, None


REMEDY = "Pack the notebook itself, without folders or links, and hand in again."


def walk(source: Path, caps: Caps, wanted: Wanted = wanted_by_default) -> Iterator[Item]:
    """Every file of ``source`` (a folder or an archive), contents only where ``wanted`` says so.

    Students' own archives are opened one level deep. Raises :class:`IntakeError` when ``source``
    itself cannot be read.
    """
    budget = Budget(caps)
    if source.is_dir():
        yield from _folder(source, caps, wanted, budget)
        return
    try:
        with source.open("rb") as stream:
            if source.stat().st_size > caps.total_mb * 2**20:
                raise IntakeError(f"{source} is larger than {caps.total_mb:g} MiB")
            items = _archive(stream, source.name, caps, caps.members)
            yield from _members(items, (), None, caps, wanted, budget, nested=False)
    except Refused as error:
        raise IntakeError(f"{source} cannot be read: {error}") from error
    except OSError as error:
        raise IntakeError(f"{source} cannot be read: {error}") from error


def _problem_of_kind(mode: int, name: str) -> str:
    kind = KINDS.get(stat.S_IFMT(mode), "no ordinary file")
    return f"'{printable(name)}' is {kind}, not a file: hand in the notebook file itself."


# --- folders ---------------------------------------------------------------------------------

_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.scandir in os.supports_fd


def _folder(source: Path, caps: Caps, wanted: Wanted, budget: Budget) -> Iterator[Item]:
    if _BY_DESCRIPTOR:
        top: int | Path = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        top = source
    counter = [0]
    try:
        yield from _in_folder(top, (), caps, wanted, budget, counter)
    finally:
        if isinstance(top, int):
            os.close(top)


def _in_folder(
    folder: int | Path,
    above: tuple[str, ...],
    caps: Caps,
    wanted: Wanted,
    budget: Budget,
    counter: list[int],
) -> Iterator[Item]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = (*above, escaped(name))
        if is_junk(path):
            continue
        counter[0] += 1
        if counter[0] > caps.members:
            raise IntakeError(f"more than {caps.members} files: is this the right folder?")
        place: dict[str, Any] = {"dir_fd": folder} if isinstance(folder, int) else {}
        target = name if isinstance(folder, int) else folder / name
        try:
            found = os.stat(target, follow_symlinks=False, **place)
            if stat.S_ISDIR(found.st_mode):
                if len(path) > caps.depth:
                    yield Item(path, problem=f"folders are nested deeper than {caps.depth}")
                    continue
                yield from _subfolder(target, place, path, caps, wanted, budget, counter)
            elif not stat.S_ISREG(found.st_mode):
                yield Item(path, problem=_problem_of_kind(found.st_mode, name), suspicious=True)
            else:
                yield from _file(target, place, path, caps, wanted, budget)
        except Refused as error:
            yield Item(path, problem=str(error), modified=found.st_mtime)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            yield Item(path, problem=f"'{path[-1]}' cannot be read ({reason}).")


def _subfolder(
    target: str | Path,
    place: dict[str, Any],
    path: tuple[str, ...],
    caps: Caps,
    wanted: Wanted,
    budget: Budget,
    counter: list[int],
) -> Iterator[Item]:
    before = counter[0]
    if not place:
        yield from _in_folder(Path(target), path, caps, wanted, budget, counter)
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target, flags, **place)
    try:
        yield from _in_folder(descriptor, path, caps, wanted, budget, counter)
        if counter[0] == before:
            yield Item((*path, ""), problem="Nothing was handed in: the folder is empty.")
    finally:
        os.close(descriptor)


def _file(
    target: str | Path,
    place: dict[str, Any],
    path: tuple[str, ...],
    caps: Caps,
    wanted: Wanted,
    budget: Budget,
) -> Iterator[Item]:
    name = path[-1]
    is_archive = bool(ARCHIVE.search(name))
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(target, flags, **place), "rb") as stream:
        opened = os.fstat(stream.fileno())
        if not stat.S_ISREG(opened.st_mode):  # it was changed after we looked
            raise Refused(_problem_of_kind(opened.st_mode, name))
        time_ = opened.st_mtime
        if not is_archive:
            data = None
            if wanted(path):
                data = read_capped(stream, budget.room(path), caps, name)
                budget.spend(path, len(data))
            yield Item(path, data, modified=time_, own_time=time_, names=opened.st_nlink)
            return
        yield from _own_archive(stream, path, time_, caps, wanted, budget)


# --- archives --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    """An archive's entry: its path, or what is wrong with it, and how to read it."""

    path: tuple[str, ...]
    problem: str | None = None
    suspicious: bool = False
    modified: float | None = None
    read: Callable[[int], bytes] | None = None
    fatal: bool = False  # the whole archive is not to be trusted


def _own_archive(
    stream: BinaryIO,
    path: tuple[str, ...],
    modified: float | None,
    caps: Caps,
    wanted: Wanted,
    budget: Budget,
) -> Iterator[Item]:
    """A student's archive: its notebooks, or one item that says what is wrong."""
    try:
        members = list(_archive(stream, path[-1], caps, caps.student_members, nested=True))
        bad = next((m for m in members if m.fatal), None)
        if bad is not None:
            yield Item(
                path, problem=f"{_sentence(bad.problem)} {REMEDY}", suspicious=True,
                modified=modified,
            )  # fmt: skip
            return
        stream.seek(0)
        fresh = _archive(stream, path[-1], caps, caps.student_members, nested=True)
        count = 0
        for item in _members(fresh, path, modified, caps, wanted, budget, nested=True):
            count += 1
            yield item
        if not count:
            text = f"Nothing was handed in: the archive '{path[-1]}' is empty."
            yield Item(path, problem=text, modified=modified)
    except Refused as error:
        yield Item(path, problem=str(error), suspicious=False, modified=modified)


def _sentence(text: str | None) -> str:
    text = (text or "").rstrip(".")
    return text[:1].upper() + text[1:] + "."


def _members(
    members: Iterator[_Member],
    above: tuple[str, ...],
    modified: float | None,
    caps: Caps,
    wanted: Wanted,
    budget: Budget,
    *,
    nested: bool,
) -> Iterator[Item]:
    for member in members:
        path = (*above, *member.path)
        if is_junk(member.path):
            continue
        time_ = modified if nested else member.modified
        own = member.modified
        if member.problem is None and len(member.path) > caps.depth:
            yield Item(path, problem=f"folders are nested deeper than {caps.depth}")
            continue
        if member.problem is not None:
            yield Item(
                path,
                problem=_sentence(member.problem),
                suspicious=member.suspicious,
                modified=time_,
            )
            continue
        inner = bool(ARCHIVE.search(path[-1]))
        try:
            if inner and nested:
                yield Item(
                    path,
                    problem=f"'{path[-1]}' is an archive inside an archive; it was not opened. "
                    + REMEDY,
                    modified=time_,
                )
                continue
            data = None
            if inner or wanted(path):
                data = member.read(budget.room(path)) if member.read else b""
                budget.spend(path, len(data))
        except Refused as error:
            yield Item(path, problem=str(error), modified=time_, own_time=own)
            continue
        if inner and data is not None:
            yield from _own_archive(io.BytesIO(data), path, time_, caps, wanted, budget)
        else:
            yield Item(path, data, modified=time_, own_time=own)


def _archive(
    stream: BinaryIO, name: str, caps: Caps, most: int, *, nested: bool = False
) -> Iterator[_Member]:
    """The entries of an archive, whatever its name says. Raises :class:`Refused`."""
    head = stream.read(265)
    stream.seek(0)
    if head[:2] == b"PK":
        yield from _zip(stream, name, caps, most)
        return
    for magic, kind in ((b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz")):
        if head.startswith(magic):
            yield from _tar(_Inflated(stream, kind, name, caps, nested), name, most, caps)
            return
    if head[257:262] == b"ustar":
        yield from _tar(stream, name, most, caps)
        return
    if not head:
        raise Refused(f"'{printable(name)}' is empty. Pack the notebook and hand in again.")
    raise Refused(
        f"'{printable(name)}' is no zip or tar archive, or it is damaged. Hand in the notebook "
        "itself, or pack it again."
    )


def _count(stream: BinaryIO, signature: bytes) -> int:
    """How often ``signature`` occurs in a stream; the stream is rewound."""
    count, tail = 0, b""
    while chunk := stream.read(2**20):
        count += (tail + chunk).count(signature)
        tail = chunk[-(len(signature) - 1) :]
    stream.seek(0)
    return count


def _zip(stream: BinaryIO, name: str, caps: Caps, most: int) -> Iterator[_Member]:
    shown = printable(name)
    if _count(stream, b"PK\x01\x02") > most:  # every entry of the directory has one
        raise Refused(f"'{shown}' holds more than {most} entries.")
    try:
        archive = zipfile.ZipFile(stream)
        entries = archive.infolist()
    except Exception as error:  # zipfile raises a dozen types for damaged files
        raise Refused(f"'{shown}' is a damaged zip archive. Pack it again.") from error
    overlapping = _overlapping(entries)
    for entry in entries:
        path, problem = safe_parts(entry.filename)
        # external_attr >> 16 is the Unix mode where the archive was made on Unix
        mode = entry.external_attr >> 16
        modified = _zip_time(entry)
        if problem:
            yield _Member(path, problem, True, modified, fatal=True)
        elif entry.is_dir():
            continue
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield _Member(path, _problem_of_kind(mode, path[-1]), True, modified, fatal=True)
        elif id(entry) in overlapping:
            problem = f"'{shown}' holds entries that overlap, as archive bombs do"
            yield _Member(path, problem, True, modified, fatal=True)
        elif entry.flag_bits & 1:
            problem = f"'{path[-1]}' is locked with a password. Hand in without one."
            yield _Member(path, problem, False, modified)
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"'{path[-1]}' is packed in a way that is not read; use an ordinary zip."
            yield _Member(path, problem, False, modified)
        else:
            reader = _zip_reader(archive, entry, path[-1], caps)
            yield _Member(path, None, False, modified, reader)


def _zip_reader(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, caps: Caps
) -> Callable[[int], bytes]:
    def read(room: int) -> bytes:
        try:
            with archive.open(entry) as stream:
                measured = _Measured(stream, entry.compress_size, name, caps)
                return read_capped(measured, room, caps, name)
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"'{name}' is damaged inside the zip archive. Pack it again.") from error

    return read


class _Measured:
    """Refuses once unpacked bytes are out of all proportion to packed ones."""

    def __init__(self, stream: Any, packed: int, name: str, caps: Caps) -> None:
        self.stream, self.packed, self.name, self.caps, self.size = stream, packed, name, caps, 0

    def read(self, size: int) -> bytes:
        chunk = self.stream.read(size)
        self.size += len(chunk)
        if self.size > 8 * 2**20 and self.size > self.caps.ratio * max(1, self.packed):
            raise Refused(
                f"'{self.name}' unpacks to more than {self.caps.ratio:g} times its size, as "
                "archive bombs do. Clear the notebook's outputs and pack it again."
            )
        return chunk


def _overlapping(entries: list[zipfile.ZipInfo]) -> set[int]:
    """Entries whose bytes overlap another entry's, or that stand twice at one place."""
    found: set[int] = set()
    end, last = -1, None
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.header_offset < end and last is not None:
            found |= {id(entry), id(last)}
        stop = entry.header_offset + 30 + len(entry.filename.encode("utf-8", "replace"))
        stop += entry.compress_size
        if stop > end:
            end, last = stop, entry
    return found


def _zip_time(entry: zipfile.ZipInfo) -> float | None:
    """A zip's times are local times without a zone; they are taken as this machine's."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return time.mktime((*entry.date_time, 0, 0, -1))
    return None


class _Inflated(io.RawIOBase):
    """A compressed stream as it unpacks. A student's own archive (``nested``) may not unpack to
    more than a student's share, nor out of proportion; a class's archive is only capped, because
    one student's bomb in it must not stop the others (members are capped one by one)."""

    def __init__(self, stream: BinaryIO, kind: str, name: str, caps: Caps, nested: bool) -> None:
        self.stream, self.kind, self.name, self.nested = stream, kind, name, nested
        self.most = (caps.student_mb if nested else caps.total_mb) * 2**20
        self.ratio = caps.ratio
        self.engine = self._new()
        self.packed = self.size = 0
        self.done = False

    def _new(self) -> Any:
        if self.kind == "gz":
            return zlib.decompressobj(31)
        if self.kind == "bz2":
            return bz2.BZ2Decompressor()
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        out, wanted = [], CHUNK if size < 0 else size
        while wanted > 0 and not self.done:
            chunk = self._some(min(wanted, CHUNK))
            out.append(chunk)
            wanted -= len(chunk)
        return b"".join(out)

    def _some(self, most: int) -> bytes:
        try:
            if self.kind == "gz":
                feed = self.engine.unconsumed_tail or self._feed()
                chunk = self.engine.decompress(feed, most)
            else:
                chunk = self.engine.decompress(
                    self._feed() if self.engine.needs_input else b"", most
                )
        except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
            raise Refused(f"'{printable(self.name)}' is a damaged archive.") from error
        self.size += len(chunk)
        bomb = self.size > 8 * 2**20 and self.size > self.ratio * max(1, self.packed)
        if self.nested and bomb:
            raise Refused(
                f"'{printable(self.name)}' unpacks to more than {self.ratio:g} times its size, as "
                "archive bombs do. Clear the notebook's outputs and pack it again."
            )
        if self.size > self.most:
            raise Refused(
                f"'{printable(self.name)}' unpacks to more than {self.most / 2**20:g} MiB. Clear "
                "the notebook's outputs and pack it again."
            )
        if self.engine.eof:
            self.done = True
        return chunk

    def _feed(self) -> bytes:
        data = self.stream.read(2**16)
        if not data:
            raise EOFError("the archive is cut off")
        self.packed += len(data)
        return data


def _tar(stream: Any, name: str, most: int, caps: Caps) -> Iterator[_Member]:
    shown = printable(name)
    try:
        archive = tarfile.open(fileobj=stream, mode="r|", bufsize=2**16)  # noqa: SIM115 (no file)
        count = 0
        while (entry := archive.next()) is not None:
            archive.members = []  # a stream needs no memory of what was read
            count += 1
            if count > most:
                raise Refused(f"'{shown}' holds more than {most} entries.")
            path, problem = safe_parts(entry.name)
            modified = float(entry.mtime) if 0 <= entry.mtime < 2**40 else None
            if problem:
                yield _Member(path, problem, True, modified, fatal=True)
            elif entry.isdir():
                continue
            elif not entry.isreg() or entry.issparse():
                kind = "a link" if entry.issym() or entry.islnk() else "no ordinary file"
                problem = f"'{path[-1]}' is {kind}: hand in the notebook file itself."
                yield _Member(path, problem, True, modified, fatal=True)
            else:
                yield _Member(path, None, False, modified, _tar_reader(archive, entry, path, caps))
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"'{shown}' is a damaged or cut off tar archive. Pack it again.") from error


def _tar_reader(
    archive: tarfile.TarFile, entry: tarfile.TarInfo, path: tuple[str, ...], caps: Caps
) -> Callable[[int], bytes]:
    def read(room: int) -> bytes:
        with archive.extractfile(entry) as stream:  # type: ignore[union-attr]
            return read_capped(stream, room, caps, path[-1])

    return read
