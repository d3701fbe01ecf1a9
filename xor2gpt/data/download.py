"""Get one file by HTTP so that a bad line costs time and nothing else.

Does: download with a progress bar into a ``.part`` file, go on where it stopped (HTTP ``Range``,
guarded by ``If-Range``), start again where the server cannot do that, and hand the file to
``pooch``, which verifies its hash.
Does not: choose an address or a place (:mod:`xor2gpt.data.store`).
Source: RFC 9110, sections 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path

from xor2gpt.data.errors import DamagedFile, DiskFull, DownloadFailed
from xor2gpt.data.hashing import plain_hash

__all__ = ["ATTEMPTS", "PAUSE", "Downloader", "is_full", "retrieve"]

ATTEMPTS = 5  # tries in a row that bring no new byte
PAUSE = 1.0  # seconds before the second try; doubles each time
CHUNK = 2**14  # bytes of a piece; a broken connection loses at most one
UNKNOWN_LIMIT = 2**31  # bytes accepted where no size is registered
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
_RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _Interrupted(Exception):
    """The transfer stopped for a reason that may pass; what has arrived is kept."""


def is_full(error: OSError) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Downloader:
    """A downloader for ``pooch.retrieve`` that resumes and shows a bar.

    ``part`` is where bytes gather; beside it, ``part + ".json"`` notes their address and the
    server's validator. ``size`` is the registered number of bytes or ``None``. ``progress`` draws
    a bar on stderr; ``None`` means where stderr is a terminal.
    """

    def __init__(self, part: Path, size: int | None = None, progress: bool | None = None) -> None:
        self.part = part
        self.note = part.with_name(part.name + ".json")
        self.size = size
        self.resumed = False
        self.progress = sys.stderr.isatty() if progress is None else progress

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        """Download ``url`` to ``output_file``.

        Raises:
            DownloadFailed: no connection, a refusal, a wrong length, too many interruptions.
            DiskFull: no space is left; what had arrived is deleted.
        """
        failures, pause, most = 0, PAUSE, self._held()
        while True:
            try:
                self._transfer(url)
                break
            except _Interrupted as error:
                further = self._held() > most  # a restart that gets no further is a failure too
                most = max(most, self._held())
                failures = 0 if further else failures + 1
                pause = PAUSE if further else pause * 2
                if failures >= ATTEMPTS:
                    raise DownloadFailed(f"{url}: {error} ({ATTEMPTS} times)") from error
                time.sleep(pause)
            except OSError as error:
                if not is_full(error):
                    raise
                self.discard()
                raise DiskFull(f"no space left on the disk of {self.part.parent}") from error
        os.replace(self.part, output_file)
        self.note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget what has arrived."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _held(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _validator(self, url: str) -> str | None:
        """What the held bytes' server said of them; ``None`` when they are not of this address."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note.get("validator") if note.get("url") == url else None

    def _transfer(self, url: str) -> None:
        """One request: append to the part file, or start it again."""
        import requests

        held, validator = self._held(), self._validator(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "xor2gpt (a course; data fetch)"}
        if held and validator:
            headers |= {"Range": f"bytes={held}-", "If-Range": validator}
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except requests.exceptions.ReadTimeout as error:
            raise _Interrupted(f"no answer within {TIMEOUT[1]} s") from error
        except requests.exceptions.RequestException as error:
            raise DownloadFailed(f"{url}: no connection ({_reason(error)})") from error
        with response:
            start = self._start(response, url, held)
            total = self._expected(response, url, start)
            self._note(response, url)
            self._receive(response, url, start, total)

    def _start(self, response, url: str, held: int) -> int:
        """The position of the answer's first byte; 0 means the part file begins again."""
        if response.status_code == 416:  # our part is longer than the file: not of this version
            self.discard()
            raise _Interrupted(f"the server has nothing after byte {held:,}")
        if response.status_code in _RETRY_STATUS:
            raise _Interrupted(f"HTTP status {response.status_code}")
        if response.status_code == 206:
            span = response.headers.get("Content-Range", "")
            if span.startswith(f"bytes {held}-"):
                self.resumed = True
                return held
            self.discard()
            raise _Interrupted(f"the server sent another range ({span or 'unnamed'})")
        if response.status_code != 200:
            raise DownloadFailed(f"{url}: HTTP status {response.status_code} {response.reason}")
        return 0

    def _expected(self, response, url: str, start: int) -> int | None:
        """The whole file's length as the server states it, checked against the registered one."""
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if None not in (total, self.size) and total != self.size:
            self.discard()
            raise DownloadFailed(
                f"{url}: offers {total:,} bytes where {self.size:,} are registered"
            )
        return total

    def _note(self, response, url: str) -> None:
        """Remember whose bytes the part file holds. A weak validator cannot guard a range."""
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else None
        validator = validator or response.headers.get("Last-Modified")
        self.note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def _receive(self, response, url: str, start: int, total: int | None) -> None:
        import requests
        from tqdm import tqdm

        limit = self.size if self.size is not None else UNKNOWN_LIMIT
        expected = total if total is not None else self.size
        bar = tqdm(
            total=expected,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=url.rsplit("/", 1)[-1],
            disable=not self.progress,
            file=sys.stderr,
        )
        position = start
        with bar, open(self.part, "ab" if start else "wb") as out:
            try:
                for piece in response.iter_content(CHUNK):
                    position += len(piece)
                    if position > limit:
                        break
                    out.write(piece)
                    bar.update(len(piece))
            except requests.exceptions.RequestException as error:
                out.flush()
                raise _Interrupted(f"the connection broke ({_reason(error)})") from error
        if position > limit:
            self.discard()
            raise DownloadFailed(f"{url}: sends more than the {limit:,} bytes registered")
        if expected is not None and position < expected:
            raise _Interrupted(f"the connection ended after {position:,} of {expected:,} bytes")


def _reason(error: BaseException) -> str:
    """The innermost cause of a network error, in one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (str(error) or type(error).__name__).splitlines()[0]


def retrieve(
    url: str,
    folder: Path,
    name: str,
    *,
    size: int | None = None,
    checksum: str | None = None,
    progress: bool | None = None,
) -> Path:
    """``folder/name`` with the bytes of ``url``, verified; an existing whole file is kept.

    A checksum that ``pooch`` cannot compare (a prefix) is left to the caller.

    Raises:
        DownloadFailed: the address does not give the file.
        DamagedFile: it gives other bytes. A download that was resumed is tried once from the start.
        DiskFull: no space is left.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    downloader = Downloader(folder / f"{name}.part", size, progress)
    try:
        got = pooch.retrieve(
            url,
            known_hash=plain_hash(checksum),
            fname=name,
            path=folder,
            downloader=downloader,
        )
    except ValueError as error:  # pooch: the hash differs
        if downloader.resumed:  # its two halves may be of two versions
            return retrieve(url, folder, name, size=size, checksum=checksum, progress=progress)
        raise DamagedFile(f"{url}: the file's checksum is not {checksum}") from error
    return Path(got)
