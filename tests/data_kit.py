"""Helpers of the data tests: a web server with bad habits, small sets, files in the real formats.

Everything is synthetic; no test here needs real data or a network beyond 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import pickle
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from xor2gpt.data.registry import Archive, Dataset, File, Packed, Variant


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def md5(data: bytes) -> str:
    return f"md5:{hashlib.md5(data).hexdigest()}"


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


# --- a web server ---------------------------------------------------------------------------------


@dataclass
class Site:
    """A server's files and habits; tests change them while it runs.

    ``cut`` holds, per request to come, after how many bytes the connection is closed (``None``:
    never). ``hold`` is waited for after the cut bytes instead of closing. ``statuses`` holds
    answers to give before the files.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    guard: bool = True  # honours If-Range
    etag: str | None = '"one"'
    length: bool = True
    cut: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hold: threading.Event | None = None
    wait: float = 0.0
    log: list[tuple[str, str | None, int]] = field(default_factory=list)
    half_sent: threading.Event = field(default_factory=threading.Event)
    base: str = ""

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"

    @property
    def requests(self) -> list[tuple[str, str | None]]:
        """``(path, Range header)`` of every request so far."""
        return [(path, span) for path, span, _ in self.log]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a closed connection ends a body without a length

    def log_message(self, *_: object) -> None:
        """Keep the tests' output quiet."""

    def do_GET(self) -> None:
        site: Site = self.server.site
        path = unquote(self.path).lstrip("/")
        span = self.headers.get("Range")
        if site.statuses:
            status = site.statuses.pop(0)
            site.log.append((path, span, status))
            return self.send_error(status)
        if path not in site.files:
            site.log.append((path, span, 404))
            return self.send_error(404)
        body = site.files[path]
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and site.ranges else 0
        if site.guard and self.headers.get("If-Range") not in (None, site.etag):
            start = 0
        if start >= len(body) > 0:
            site.log.append((path, span, 416))
            return self.send_error(416)
        status = 206 if start else 200
        site.log.append((path, span, status))
        threading.Event().wait(site.wait)
        self.send_response(status)
        if site.etag:
            self.send_header("ETag", site.etag)
        if site.length:
            self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        stop = site.cut.pop(0) if site.cut else None
        with contextlib.suppress(OSError):
            self.wfile.write(body[start:] if stop is None else body[start : start + stop])
            self.wfile.flush()
            if stop is not None:
                site.half_sent.set()
                if site.hold:
                    site.hold.wait(20)


@contextlib.contextmanager
def serving(files: dict[str, bytes] | None = None, **habits: object) -> Iterator[Site]:
    """A server on 127.0.0.1 in a thread."""
    site = Site(files=dict(files or {}), **habits)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.site = site
    site.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        if site.hold:
            site.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


# --- sets -----------------------------------------------------------------------------------------


def dataset(*files: File, name: str = "toy", **more: object) -> Dataset:
    variants = more.pop("variants", None) or (Variant("files", files),)
    return Dataset(
        name=name,
        title="A toy set",
        kind="Text",
        contents="bytes",
        licence="MIT",
        citation=(),
        variants=variants,
        **more,
    )


def plain_file(data: bytes, path: str = "a.bin", *urls: str, **more: object) -> File:
    """A file with its size and sha256, at ``toy/PATH`` of a mirror."""
    more = {"size": len(data), "checksum": sha256(data), "mirror": f"toy/{path}"} | more
    return File(path=path, urls=urls, **more)


def packed_file(data: bytes, path: str = "b.bin", **more: object) -> tuple[File, bytes]:
    """A file that a mirror holds as xz, verified by md5 when unpacked; and the xz's bytes."""
    squeezed = lzma.compress(data)
    packed = Packed(f"toy/{path}.xz", len(squeezed), sha256(squeezed))
    return plain_file(data, path, packed=packed, checksum=md5(data), **more), squeezed


def tar_of(members: dict[str, bytes], mode: str = "w:gz", *extra: tarfile.TarInfo) -> bytes:
    """A tar with regular files, and further entries without contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for entry in extra:
            archive.addfile(entry)
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def archived(
    members: dict[str, bytes], packed: bytes, *urls: str, name: str = "toy.tar.gz", **more: object
) -> tuple[File, ...]:
    """Files that come out of one archive."""
    archive = Archive(urls, f"toy/{name}", len(packed), sha256(packed))
    return tuple(
        plain_file(data, member.rsplit("/", 1)[-1], archive=archive, member=member, **more)
        for member, data in members.items()
    )


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


# --- files in the real formats --------------------------------------------------------------------


class _Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its strings, and numpy's names of that time."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        data = value.encode("ascii") if isinstance(value, str) else value
        short = len(data) < 256
        self.write(b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data)))
        self.write(data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string

    def save_global(self, value: object, name: str | None = None) -> None:
        if getattr(value, "__name__", "") == "_reconstruct":
            self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
            return self.memoize(value)
        return super().save_global(value, name)

    for _kind in (type, type(len), type(lambda: None)):
        dispatch[_kind] = save_global


def python2_pickle(value: object) -> bytes:
    """A pickle of protocol 2 as Python 2 wrote it."""
    buffer = io.BytesIO()
    _Python2(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def cifar_batch(images: np.ndarray, labels: list[int], **changes: object) -> bytes:
    """A batch as CIFAR-10's: a pickled dict with byte strings as keys, protocol 2."""
    content = {
        b"batch_label": b"testing batch",
        b"labels": labels,
        b"data": images.reshape(len(images), -1),
        b"filenames": [b"some.png"] * len(images),
    }
    content |= {key.encode(): value for key, value in changes.items()}
    return python2_pickle(content)


def picture(shape: tuple[int, int], seed: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture of noise as a file."""
    from PIL import Image

    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, *channels), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def tiny_tree(wnids: list[str], per_class: int = 3, val: int = 4) -> dict[str, bytes]:
    """Files in Tiny ImageNet's layout, in an order that is not the sorted one."""
    files = {}
    for which, wnid in enumerate(wnids):
        for number in reversed(range(per_class)):
            path = f"train/{wnid}/images/{wnid}_{number}.JPEG"
            mode = "L" if number == 1 else "RGB"
            files[path] = picture((64, 64), 100 * which + number, "JPEG", mode)
        files[f"train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t9\t9\n".encode()
    rows = []
    for number in range(val):
        name = f"val_{number}.JPEG"
        files[f"val/images/{name}"] = picture((64, 64), 9000 + number, "JPEG")
        rows.append(f"{name}\t{wnids[(number + 1) % len(wnids)]}\t0\t0\t9\t9\n")
    files["val/val_annotations.txt"] = "".join(rows).encode()
    files["wnids.txt"] = "".join(f"{wnid}\n" for wnid in wnids).encode()
    files["words.txt"] = "".join(f"{w}\tword {w}, other word\n" for w in sorted(wnids)).encode()
    return {f"tiny-imagenet-200/{name}": data for name, data in files.items()}


# --- the book's page ------------------------------------------------------------------------------


def readable_size(size: int) -> str:
    """``"11.6 MB"``, ``"20 kB"``: three digits, decimal units."""
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def page_entry(each: Dataset) -> str:
    """A set's entry on ``book/datasets.md``, from the registry."""
    lines = [f"### `{each.name}`", "", f"{each.title}.", ""]
    lines.append(f"- **Gives:** {each.kind}: {each.contents}.")
    if each.embedded:
        lines.append("- **Size:** nothing to download.")
    else:
        files = len(each.files)
        plural = "file" if files == 1 else "files"
        lines.append(f"- **Size:** {readable_size(each.size)} in {files} {plural}.")
    lines.append(f"- **Licence:** {each.licence}.")
    if each.citation:
        cited = ", ".join(f"{{cite:t}}`{key}`" for key in each.citation)
        home = f"; [home page]({each.home})" if each.home else ""
        lines.append(f"- **Source:** {cited}{home}.")
    if each.note:
        lines.append(f"- **Note:** {each.note}.")
    return "\n".join(lines) + "\n"
