"""Where data lie and how they get there: cache, then mirror, then the canonical address.

Does: find the cache and the mirror, fetch what is missing under a lock, unpack what is packed,
verify every file before it gets its final name, verify again on request.
Does not: know formats (:mod:`xor2gpt.data.readers`) or talk HTTP (:mod:`xor2gpt.data.download`).
Source: for safe unpacking: only members whose names the registry lists are read, each up to its
registered size; nothing is extracted by the names or sizes that an archive claims.

``XOR2GPT_DATA`` is the cache folder (default: the platform's cache folder), ``XOR2GPT_MIRROR`` a
folder or an address that holds the files under the registry's mirror paths.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from xor2gpt.data import registry
from xor2gpt.data.download import is_full, retrieve
from xor2gpt.data.errors import DamagedFile, DataError, DiskFull, DownloadFailed
from xor2gpt.data.hashing import digest_of_bytes, digest_of_file, hasher, matches
from xor2gpt.data.registry import Archive, Dataset, File, Packed, Variant

__all__ = [
    "Finding",
    "Mirror",
    "cache_root",
    "check",
    "ensure",
    "fetch",
    "folder",
    "held",
    "mirror",
    "names_with_files",
    "read",
    "verify",
]

PIECE = 2**20
STAGING = ".incoming"
LOCK_SECONDS = 3600


# --- places ---------------------------------------------------------------------------------------


def cache_root() -> Path:
    """The folder of all cached sets: ``XOR2GPT_DATA``, else the platform's cache folder."""
    if chosen := os.environ.get("XOR2GPT_DATA", "").strip():
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("xor2gpt", appauthor=False) / "data"


def folder(dataset: Dataset) -> Path:
    """The set's folder in the cache, whether or not it is there yet."""
    return cache_root() / (dataset.shelf or dataset.name) / dataset.version


@dataclass(frozen=True)
class Mirror:
    """``XOR2GPT_MIRROR``: a folder, or an ``http(s)://`` address."""

    base: str

    @property
    def is_url(self) -> bool:
        return urlsplit(self.base).scheme in ("http", "https")

    def url(self, path: str) -> str:
        return f"{self.base.rstrip('/')}/{quote(path)}"

    @property
    def folder(self) -> Path:
        """The mirror's folder, whether or not it is there."""
        parts = urlsplit(self.base)
        return Path(unquote(parts.path) if parts.scheme == "file" else self.base).expanduser()

    @property
    def root(self) -> Path:
        """The mirror's folder.

        Raises:
            DataError: it is not there.
        """
        if not self.folder.is_dir():
            raise DataError(
                f"XOR2GPT_MIRROR is {self.base!r}, which is no folder and no http(s) address: "
                "set it to one that holds the data, or unset it"
            )
        return self.folder

    def path(self, path: str) -> Path | None:
        """The file in the mirror's folder, ``None`` where it has none."""
        found = self.root / path
        return found if found.is_file() else None


def mirror() -> Mirror | None:
    """The mirror that ``XOR2GPT_MIRROR`` names, ``None`` where it is unset or empty."""
    base = os.environ.get("XOR2GPT_MIRROR", "").strip()
    return Mirror(base) if base else None


# --- what is there --------------------------------------------------------------------------------


def _is_held(file: File, place: Path) -> bool:
    """Whether the file is in the cache with its registered size (its bytes are not hashed)."""
    try:
        size = (place / file.path).stat().st_size
    except OSError:
        return False
    return file.size is None or size == file.size


def held(dataset: Dataset) -> Variant | None:
    """The form of the set that lies complete in the cache, by names and sizes."""
    place = folder(dataset)
    for variant in dataset.variants:
        if all(_is_held(file, place) for file in variant.files):
            return variant
    return None


def read(dataset: Dataset, file: File) -> bytes:
    """The bytes of a cached file, verified.

    Raises:
        DamagedFile: they are not the registered ones.
    """
    path = folder(dataset) / file.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): {_again(dataset)}") from error
    if not matches(file.checksum, digest_of_bytes(data, file.checksum)):
        raise DamagedFile(f"{path} is damaged (its checksum differs): {_again(dataset)}")
    return data


def check(dataset: Dataset, file: File) -> Path:
    """The path of a cached file after hashing it: for files that are read piece by piece.

    Raises:
        DamagedFile: its bytes are not the registered ones.
    """
    path = folder(dataset) / file.path
    if not path.is_file():
        raise DataError(f"{path} is not there: {_again(dataset)}")
    if _status(path, file.checksum, file.size) != "whole":
        raise DamagedFile(f"{path} is damaged (its checksum differs): {_again(dataset)}")
    return path


def _again(dataset: Dataset) -> str:
    return f"get it again with `python -m xor2gpt data fetch {dataset.name}`"


@dataclass(frozen=True)
class Finding:
    """What :func:`verify` found of one file. ``place`` is ``"cache"`` or ``"mirror"``; ``status``
    is ``"whole"``, ``"damaged"`` or ``"missing"``."""

    dataset: str
    file: str
    place: str
    status: str
    path: str


def verify(dataset: Dataset) -> list[Finding]:
    """Hash every file of a set in the cache and in a mirror that is a folder.

    A place that holds no file of a form of the set is not listed; one that holds some but not all
    has ``"missing"`` rows. Files of a mirror by address are verified when they are fetched.
    """
    found = []
    for variant in dataset.variants:
        found += _verify_cache(dataset, variant)
        source = mirror()
        if source and not source.is_url:
            found += _verify_mirror(dataset, variant, source)
    return found


def _status(path: Path, checksum: str | None, size: int | None) -> str:
    if size is not None and path.stat().st_size != size:
        return "damaged"
    if checksum is None:
        return "whole"
    return "whole" if matches(checksum, digest_of_file(path, checksum)) else "damaged"


def _verify_cache(dataset: Dataset, variant: Variant) -> list[Finding]:
    place = folder(dataset)
    paths = {file: place / file.path for file in variant.files}
    if not any(path.is_file() for path in paths.values()):
        return []
    return [
        Finding(
            dataset.name,
            file.path,
            "cache",
            _status(path, file.checksum, file.size) if path.is_file() else "missing",
            str(path),
        )
        for file, path in paths.items()
    ]


def _verify_mirror(dataset: Dataset, variant: Variant, source: Mirror) -> list[Finding]:
    rows, archives = [], set()
    for file in variant.files:
        path, checksum, size = source.path(file.mirror), file.checksum, file.size
        if path is None and file.packed:
            path = source.path(file.packed.mirror)
            checksum, size = file.packed.checksum, file.packed.size
        if path is None and file.archive:
            path = source.path(file.archive.mirror)
            checksum, size = file.archive.checksum, file.archive.size
            if path is not None and path in archives:
                continue
            archives.add(path)
        shown = path or source.root / (file.packed.mirror if file.packed else file.mirror)
        status = "missing" if path is None else _status(path, checksum, size)
        name = shown.relative_to(source.root).as_posix()
        rows.append(Finding(dataset.name, name, "mirror", status, str(shown)))
    return rows if any(row.status != "missing" for row in rows) else []


# --- getting it -----------------------------------------------------------------------------------


def ensure(dataset: Dataset, *, progress: bool | None = None) -> Variant:
    """The form of the set that is in the cache, fetched first where none is complete.

    Raises:
        DataError: no source gives it; the message lists what was tried and what to do.
        DiskFull: no space is left.
    """
    if variant := held(dataset):
        return variant
    with _locked(dataset):
        return held(dataset) or _obtain(dataset, progress)


def fetch(dataset: Dataset, *, progress: bool | None = None) -> Path:
    """Have the whole set in the cache, every file hashed; damaged ones are fetched again.

    Returns:
        the set's folder.
    """
    with _locked(dataset):
        for finding in (row for v in dataset.variants for row in _verify_cache(dataset, v)):
            if finding.status == "damaged":
                warnings.warn(f"{finding.path} is damaged and is fetched again", stacklevel=2)
                Path(finding.path).unlink()
        held(dataset) or _obtain(dataset, progress)
    return folder(dataset)


@contextlib.contextmanager
def _locked(dataset: Dataset) -> Iterator[None]:
    """Only one process fetches a set; the others wait and then find it in the cache."""
    import filelock

    place = folder(dataset)
    lock = filelock.FileLock(place / ".lock", timeout=LOCK_SECONDS)
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise DataError(
            f"another process has held {place / '.lock'} for {LOCK_SECONDS // 60} minutes: "
            "end it, then try again"
        ) from error
    except OSError as error:
        if is_full(error):
            raise DiskFull(_no_space(place)) from error
        raise DataError(
            f"the cache folder {place} cannot be written ({error.strerror or error}): "
            "set XOR2GPT_DATA to a folder of yours"
        ) from error
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise DiskFull(_no_space(place)) from error
        raise
    finally:
        lock.release()


def _no_space(place: Path) -> str:
    return (
        f"no space is left on the disk of {place}: free some, or set XOR2GPT_DATA to a folder "
        "on another disk; nothing half-written is kept"
    )


def _obtain(dataset: Dataset, progress: bool | None) -> Variant:
    """Fetch the first form of the set that some source gives. The lock is held."""
    place, failures = folder(dataset), []
    staging = place / STAGING
    staging.mkdir(exist_ok=True)
    for variant in dataset.variants:
        _check_space(dataset, variant)
        try:
            for file in variant.files:
                _obtain_file(file, variant, place, progress, failures)
        except DiskFull as error:
            raise DiskFull(_no_space(place)) from error
        except _Exhausted:
            continue
        shutil.rmtree(staging, ignore_errors=True)
        return variant
    raise DataError(_advice(dataset, failures))


class _Exhausted(Exception):
    """No source has the file."""


def _check_space(dataset: Dataset, variant: Variant) -> None:
    place = folder(dataset)
    missing = [file for file in variant.files if not _is_held(file, place)]
    needed = sum((file.size or 0) for file in missing)
    needed += sum(archive.size or 0 for archive in {f.archive for f in missing if f.archive})
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DiskFull(
            f"{dataset.name!r} needs {needed / 2**20:,.0f} MiB and {place} has "
            f"{free / 2**20:,.0f} MiB free: free some, or set XOR2GPT_DATA to a folder on "
            "another disk"
        )


def _obtain_file(
    file: File, variant: Variant, place: Path, progress: bool | None, failures: list[str]
) -> None:
    """Put one file into the cache by the first source that gives it whole."""
    if _is_held(file, place):
        return
    for description, attempt in _sources(file, variant, place, progress):
        try:
            if attempt():
                return
        except (DownloadFailed, DamagedFile) as error:
            failures.append(str(error))
            if isinstance(error, DamagedFile):
                warnings.warn(f"{error}; trying the next source", stacklevel=2)
        else:
            failures.append(f"{description}: has no {file.path}")
    raise _Exhausted


Attempt = Callable[[], bool]


def _sources(
    file: File, variant: Variant, place: Path, progress: bool | None
) -> Iterator[tuple[str, Attempt]]:
    """Every way to get a file, in order: ``(description, attempt)``; an attempt tells whether the
    source has the file, and raises where it does but the file is unusable."""
    staging, source = place / STAGING, mirror()

    def from_url(url: str, form: File | Packed | Archive, name: str) -> Path:
        return retrieve(
            url, staging, name, size=form.size, checksum=form.checksum, progress=progress
        )

    def use(path: Path, install: Callable[[Path], None]) -> None:
        try:
            install(path)
        finally:  # a damaged download must not be found again
            _drop_staged(path, place)

    def from_mirror(form: File | Packed | Archive, install: Callable[[Path], None]) -> Attempt:
        def attempt() -> bool:
            assert source is not None
            if source.is_url:
                path = from_url(source.url(form.mirror), form, Path(form.mirror).name)
            else:
                found = source.path(form.mirror)
                if found is None:
                    return False
                path = found
            use(path, install)
            return True

        return attempt

    def from_canonical(
        url: str, form: File | Archive, name: str, install: Callable[[Path], None]
    ) -> Attempt:
        def attempt() -> bool:
            use(from_url(url, form, name), install)
            return True

        return attempt

    def plain(path: Path) -> None:
        _install(path, file, place)

    def packed(path: Path) -> None:
        _install_xz(path, file, place)

    def members(path: Path) -> None:
        same = [each for each in variant.files if each.archive == file.archive]
        _install_members(path, [each for each in same if not _is_held(each, place)], place)

    if source:
        label = f"mirror {source.base}"
        yield label, from_mirror(file, plain)
        if file.packed:
            yield f"{label} (packed)", from_mirror(file.packed, packed)
        if file.archive:
            yield f"{label} (archive)", from_mirror(file.archive, members)
    for url in file.urls:
        yield url, from_canonical(url, file, Path(file.path).name, plain)
    if file.archive:
        for url in file.archive.urls:
            yield url, from_canonical(url, file.archive, file.archive.name, members)


def _advice(dataset: Dataset, failures: list[str]) -> str:
    """The error when no source gave the set: what was tried, and what to do."""
    tried = list(dict.fromkeys(failures))
    if mirror() is None:
        tried.insert(0, "mirror: XOR2GPT_MIRROR is not set")
    lines = "\n".join(f"  - {line}" for line in tried)
    return (
        f"{dataset.name!r} is not in the cache and no source gave it:\n{lines}\n"
        f"What to do: with a network, run `python -m xor2gpt data fetch {dataset.name}` again; "
        "without one, set XOR2GPT_MIRROR to a folder or address that holds "
        f"{dataset.files[0].mirror!r} and its companions. "
        "Every lesson also runs without it, on embedded data (REAL_DATA = False)."
    )


# --- putting it into the cache --------------------------------------------------------------------


def _write(stream: BinaryIO, file: File, place: Path, origin: str) -> None:
    """Copy a stream to the file's final name: whole and verified, or not at all."""
    target = place / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = place / STAGING / f"{target.name}.{os.getpid()}.tmp"
    temporary.parent.mkdir(exist_ok=True)
    digest, size = hasher(file.checksum), 0
    try:
        with open(temporary, "wb") as out:
            while piece := stream.read(PIECE):
                size += len(piece)
                if file.size is not None and size > file.size:
                    raise DamagedFile(f"{origin}: more than the {file.size:,} bytes registered")
                digest.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        if file.size is not None and size < file.size:
            raise DamagedFile(f"{origin}: truncated, {size:,} of {file.size:,} bytes")
        if not matches(file.checksum, digest.hexdigest()):
            raise DamagedFile(f"{origin}: the checksum of {file.path} is not {file.checksum}")
        os.replace(temporary, target)
    except OSError as error:
        if is_full(error):
            raise DiskFull(_no_space(place)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _install(path: Path, file: File, place: Path) -> None:
    """A file as it is."""
    with open(path, "rb") as stream:
        _write(stream, file, place, str(path))


def _install_xz(path: Path, file: File, place: Path) -> None:
    """A file that the mirror holds packed: both checksums must be right."""
    packed = file.packed
    assert packed is not None
    if _status(path, packed.checksum, packed.size) != "whole":
        raise DamagedFile(f"{path}: the packed file is damaged (size or checksum differs)")
    try:
        with lzma.open(path, "rb") as stream:
            _write(stream, file, place, str(path))
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedFile(f"{path}: cannot be unpacked ({error})") from error


def _install_members(path: Path, files: list[File], place: Path) -> None:
    """The wanted members of a zip or tar; every other member is passed over."""
    wanted = {file.member: file for file in files}
    archive = files[0].archive
    assert archive is not None
    if _status(path, archive.checksum, archive.size) != "whole":
        raise DamagedFile(f"{path}: the archive is damaged (size or checksum differs)")
    opened = _zip_members if zipfile.is_zipfile(path) else _tar_members
    try:
        for name, stream in opened(path, set(wanted)):
            _write(stream, wanted.pop(name), place, f"{path}: {name}")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFile(f"{path}: cannot be unpacked ({error})") from error
    if wanted:
        raise DamagedFile(f"{path}: has no member {', '.join(wanted)}")


def _zip_members(path: Path, wanted: set[str]) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(wanted & set(archive.namelist())):
            with archive.open(name) as stream:
                yield name, stream


def _tar_members(path: Path, wanted: set[str]) -> Iterator[tuple[str, BinaryIO]]:
    seen: set[str] = set()
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.name in wanted and member.name not in seen and member.isreg():
                seen.add(member.name)
                stream = archive.extractfile(member)
                assert stream is not None
                yield member.name, stream


def _drop_staged(path: Path, place: Path) -> None:
    """Remove a download; a file of the mirror's folder stays."""
    if path.parent == place / STAGING:
        path.unlink(missing_ok=True)


def names_with_files() -> tuple[str, ...]:
    """The sets that have files: all but the embedded ones."""
    return tuple(name for name in registry.names() if not registry.get(name).embedded)
