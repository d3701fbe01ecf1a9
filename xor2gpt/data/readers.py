"""Read the formats of the course's data from bytes: IDX, CIFAR, picture folders, JSON, TSV, BPE.

Does: parse verified bytes into arrays and lists, with caps on what a file may claim, and an error
that says where a file breaks its format.
Does not: fetch or verify (:mod:`xor2gpt.data.store`).
Source: IDX: the description on LeCun's MNIST page; CIFAR: Krizhevsky's page; TSV: UCI 228's readme;
the files of GPT-2's encoding: OpenAI's ``encoder.py``.

Pictures are uint8 arrays (N, C, H, W), values 0 to 255, channels in the order red, green, blue.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xor2gpt.data.errors import FormatError

__all__ = [
    "IMAGE_SUFFIXES",
    "gunzip",
    "iter_tree",
    "read_bpe_merges",
    "read_cifar_batch",
    "read_cifar_classes",
    "read_idx",
    "read_image",
    "read_image_folder",
    "read_json",
    "read_jsonl",
    "read_members",
    "read_text",
    "read_tiny_imagenet",
    "read_tsv",
    "write_idx",
]

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
MAX_UNPACKED = 2**31  # bytes that a gzip file may unpack to
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


# --- IDX ------------------------------------------------------------------------------------------


def gunzip(data: bytes, limit: int = MAX_UNPACKED) -> bytes:
    """The unpacked bytes of a gzip file, at most ``limit`` of them.

    Raises:
        FormatError: the file is damaged, cut off, or unpacks to more.
    """
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            unpacked = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"not a whole gzip file: {error}") from error
    if len(unpacked) > limit:
        raise FormatError(f"the gzip file unpacks to more than {limit:,} bytes")
    return unpacked


def read_idx(data: bytes) -> np.ndarray:
    """The array in an IDX file, gzipped or plain.

    Layout: two zero bytes, a type code, the number of axes, each axis as a big-endian uint32, then
    the values in C order. Types: uint8, int8, int16, int32, float32, float64.

    Returns:
        an array of its own memory, in the machine's byte order.

    Raises:
        FormatError: unknown type, or more or fewer bytes than the axes say.
    """
    if data[:2] == b"\x1f\x8b":
        data = gunzip(data)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise FormatError(f"not an IDX file: it begins with {data[:4].hex()}")
    if data[2] not in _IDX_TYPES:
        raise FormatError(f"IDX type 0x{data[2]:02x} is unknown")
    dtype, axes = np.dtype(_IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise FormatError("the IDX file ends inside its header")
    shape = struct.unpack(f">{axes}I", data[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise FormatError(f"IDX: shape {shape} needs {expected:,} bytes, there are {len(data):,}")
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def write_idx(array: np.ndarray) -> bytes:
    """The array as a plain IDX file: the inverse of :func:`read_idx`.

    Raises:
        FormatError: IDX has no such type.
    """
    dtype = array.dtype.newbyteorder(">")
    for code, name in _IDX_TYPES.items():
        if np.dtype(name) == dtype:
            header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
            return header + array.astype(dtype).tobytes()
    raise FormatError(f"IDX has no type for {array.dtype}")


# --- CIFAR ----------------------------------------------------------------------------------------


class _ArrayType:
    """Stands for ``numpy.ndarray`` in a pickle; it is only ever compared by identity."""


class _Dtype:
    """Stands for ``numpy.dtype`` in a pickle: unsigned bytes, and nothing else."""

    def __init__(self, name: object, align: object = 0, copy: object = 1) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"dtype {name!r} is not allowed")

    def __setstate__(self, state: object) -> None:
        if state not in (
            (3, "|", None, None, None, -1, -1, 0),
            (3, b"|", None, None, None, -1, -1, 0),
        ):
            raise pickle.UnpicklingError("this state of a dtype is not allowed")


class _Array:
    """Stands for an array in a pickle: numpy's own code never sees what the file says."""

    value: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (1, (int(rows), int(columns)), _Dtype(), bool() | 0 | 1 as fortran, bytes(data)):
                if rows < 0 or columns < 0 or rows * columns != len(data):
                    raise pickle.UnpicklingError(f"{len(data)} bytes do not fill {rows}, {columns}")
                order = "F" if fortran else "C"
                self.value = np.frombuffer(data, np.uint8).reshape((rows, columns), order=order)
            case _:
                raise pickle.UnpicklingError("this state of an array is not allowed")


def _reconstruct(cls: object, shape: object, typecode: object) -> _Array:
    """Stands for numpy's function of this name, which would allocate whatever it is asked for."""
    if cls is not _ArrayType or shape != (0,) or typecode not in ("b", b"b"):
        raise pickle.UnpicklingError("this call of _reconstruct is not allowed")
    return _Array()


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    """Knows three names, each with a harmless stand-in."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None


def _unpickle(data: bytes, limit: int) -> dict:
    if len(data) > limit:
        raise FormatError(f"a CIFAR file of {len(data):,} bytes: more than {limit:,}")
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything
        raise FormatError(f"not a CIFAR file: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"not a CIFAR file: a {type(found).__name__} in place of a dict")
    return found


def read_cifar_batch(data: bytes, limit: int = 2**25) -> tuple[np.ndarray, np.ndarray]:
    """One batch of CIFAR-10 in its Python form.

    The pickle is read with stand-ins for the three names that real batches use; a file that asks
    for anything else is refused. Verify its checksum before all the same.

    Args:
        data: the file; ``limit`` caps its size in bytes.

    Returns:
        ``(images uint8 (N, 3, 32, 32), labels int64 (N,))``, labels 0 to 9.

    Raises:
        FormatError: not such a file.
    """
    found = _unpickle(data, limit)
    array, labels = found.get(b"data"), found.get(b"labels")
    pixels = array.value if isinstance(array, _Array) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise FormatError("CIFAR: b'data' is no (N, 3072) array of bytes")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise FormatError("CIFAR: b'labels' is no list with one entry a picture")
    if not all(type(label) is int and 0 <= label <= 9 for label in labels):
        raise FormatError("CIFAR: a label is no integer from 0 to 9")
    images = np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32)
    return images, np.array(labels, np.int64)


def read_cifar_classes(data: bytes) -> tuple[str, ...]:
    """The ten class names in ``batches.meta``.

    Raises:
        FormatError: not such a file.
    """
    names = _unpickle(data, 2**16).get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise FormatError("CIFAR: b'label_names' is no list of names")
    return tuple(name.decode("ascii") for name in names)


# --- pictures in folders --------------------------------------------------------------------------


def iter_tree(source: Path, limit: int = 2**22) -> Iterator[tuple[str, bytes]]:
    """The regular files of a folder, tar or zip: ``(name with slashes, bytes)``, links left out.

    Nothing is written to disk, so names cannot escape anywhere.

    Raises:
        FormatError: a file is larger than ``limit`` bytes, or the archive is damaged.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                _check_size(path.name, path.stat().st_size, limit)
                yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        _check_size(entry.filename, entry.file_size, limit)
                        yield entry.filename, archive.read(entry)
            return
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                if member.isreg():
                    _check_size(member.name, member.size, limit)
                    stream = archive.extractfile(member)
                    assert stream is not None
                    yield member.name, stream.read()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{source} cannot be unpacked: {error}") from error


def read_members(source: Path, wanted: set[str]) -> dict[str, bytes]:
    """The files of a zip whose last name is wanted, by that name; pictures are not read.

    Raises:
        FormatError: one is not there.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            names = {name.rsplit("/", 1)[-1]: name for name in archive.namelist()}
            return {name: archive.read(names[name]) for name in wanted}
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FormatError(f"{source}: no whole member {error}") from error


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise FormatError(f"{name} is {size:,} bytes: more than {limit:,}")


def read_image(
    data: bytes, name: str = "picture", size: tuple[int, int] | None = None
) -> np.ndarray:
    """A JPEG or PNG as uint8 (3, H, W), 0 to 255; grey pictures are repeated in three channels.

    Args:
        data: the file's bytes.
        name: for error messages.
        size: ``(height, width)`` to scale to (bilinear); ``None`` keeps the picture's own.

    Raises:
        FormatError: not such a picture, or one of more than 16 million pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > 2**24:
                raise FormatError(f"{name}: {picture.width} × {picture.height} pixels are too many")
            colour = picture.convert("RGB")
            if size is not None and (colour.height, colour.width) != size:
                colour = colour.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise FormatError(f"{name}: not a whole JPEG or PNG ({error})") from error
    return np.ascontiguousarray(np.asarray(colour).transpose(2, 0, 1))


def _stack(pictures: list[np.ndarray], where: str) -> np.ndarray:
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        raise FormatError(f"{where}: pictures of sizes {sorted(shapes)[:3]}: pass size=(H, W)")
    return np.stack(pictures) if pictures else np.zeros((0, 3, 0, 0), np.uint8)


def read_image_folder(
    source: Path, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """A tree ``class/…/picture`` (a folder, tar or zip), one class a first-level folder.

    Classes and pictures are sorted by name. Other files are passed over.

    Args:
        source: the tree.
        size: ``(height, width)`` to scale every picture to; needed where sizes differ.

    Returns:
        ``(images uint8 (N, 3, H, W), labels int64 (N,), class names)``.

    Raises:
        FormatError: no picture, pictures of different sizes, or a damaged one.
    """
    found = sorted(
        (name, data)
        for name, data in iter_tree(source)
        if name.lower().endswith(IMAGE_SUFFIXES) and "/" in name
    )
    if not found:
        raise FormatError(f"{source} has no folder with pictures ({', '.join(IMAGE_SUFFIXES)})")
    classes = tuple(sorted({name.split("/")[0] for name, _ in found}))
    index = {name: label for label, name in enumerate(classes)}
    images = _stack([read_image(data, name, size) for name, data in found], str(source))
    labels = np.array([index[name.split("/")[0]] for name, _ in found], np.int64)
    return images, labels, classes


def _number(name: str) -> int:
    """``17`` of ``n01443537_17.JPEG`` and of ``val_17.JPEG``."""
    stem = name.rsplit("/", 1)[-1].split(".")[0]
    digits = stem.rsplit("_", 1)[-1]
    return int(digits) if digits.isdecimal() else -1


Pixels = tuple[np.ndarray, np.ndarray]


def read_tiny_imagenet(
    sources: list[Path], wnids: list[str] | None = None
) -> tuple[Pixels, Pixels, tuple[str, ...]]:
    """Tiny ImageNet's layout from one or more trees, archives or parts of archives.

    Training pictures lie in ``…/train/WNID/images/WNID_k.JPEG``, those for validation in
    ``…/val/images/val_k.JPEG`` with their classes in ``…/val/val_annotations.txt``. The order is by
    class and number, so it does not depend on how the files are packed.

    Args:
        sources: where the files are.
        wnids: the classes wanted, in the order of their labels; ``None`` means all found, sorted.

    Returns:
        ``((train images uint8 (N, 3, 64, 64), train labels int64 (N,)), (validation images,
        validation labels), wnids)``.

    Raises:
        FormatError: a wanted class has no picture, or a picture is damaged or not 64 × 64.
    """
    train: list[tuple[str, int, np.ndarray]] = []
    held_back: dict[str, bytes] = {}
    truth: dict[str, str] = {}
    chosen = set(wnids) if wnids is not None else None
    for source in sources:
        for name, data in iter_tree(source):
            parts = name.split("/")
            if parts[-1] == "val_annotations.txt":
                truth |= dict(row[:2] for row in read_tsv(data, columns=6))
            elif parts[-1].lower().endswith(IMAGE_SUFFIXES) and "val" in parts[:-1]:
                held_back[parts[-1]] = data
            elif parts[-1].lower().endswith(IMAGE_SUFFIXES) and "train" in parts[:-1]:
                wnid = parts[parts.index("train") + 1]
                if chosen is None or wnid in chosen:
                    train.append((wnid, _number(name), _small(data, name)))
    classes = tuple(wnids if wnids is not None else sorted({wnid for wnid, _, _ in train}))
    index = {wnid: label for label, wnid in enumerate(classes)}
    if missing := set(classes) - {wnid for wnid, _, _ in train}:
        raise FormatError(f"Tiny ImageNet: no training picture of {', '.join(sorted(missing)[:5])}")
    train.sort(key=lambda each: (index[each[0]], each[1]))
    names = sorted((name for name in held_back if truth.get(name) in index), key=_number)
    test_images = [_small(held_back[name], name) for name in names]
    return (
        (
            _stack([picture for _, _, picture in train], "train"),
            np.array([index[wnid] for wnid, _, _ in train], np.int64),
        ),
        (_stack(test_images, "val"), np.array([index[truth[name]] for name in names], np.int64)),
        classes,
    )


def _small(data: bytes, name: str) -> np.ndarray:
    picture = read_image(data, name)
    if picture.shape != (3, 64, 64):
        raise FormatError(f"{name}: {picture.shape[1]} × {picture.shape[2]} in place of 64 × 64")
    return picture


# --- text -----------------------------------------------------------------------------------------


def read_text(data: bytes) -> str:
    """Strict UTF-8, a byte order mark at the start removed."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"not UTF-8 at byte {error.start:,}") from error


def read_json(data: bytes) -> object:
    """The value in a JSON file (UTF-8).

    Raises:
        FormatError: not JSON; the message gives line and column.
    """
    try:
        return json.loads(read_text(data))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from error


def read_jsonl(data: bytes) -> list[dict]:
    """The objects of a file with one JSON object a line; empty lines are passed over.

    Raises:
        FormatError: a line is no JSON object; the message gives its number.
    """
    rows = []
    for number, line in enumerate(read_text(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise FormatError(f"line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise FormatError(f"line {number} is a JSON {type(row).__name__}, not an object")
        rows.append(row)
    return rows


def read_tsv(data: bytes, columns: int) -> list[list[str]]:
    """The rows of a tab-separated file without quoting: a quotation mark is a letter as any other.

    Lines end with a newline (with or without a carriage return); the last column keeps further
    tabs.

    Raises:
        FormatError: a row has fewer columns; the message gives its number.
    """
    rows = []
    for number, line in enumerate(read_text(data).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line:
            continue
        row = line.split("\t", columns - 1)
        if len(row) != columns:
            raise FormatError(f"line {number} has {len(row)} columns in place of {columns}")
        rows.append(row)
    return rows


def read_bpe_merges(data: bytes) -> list[tuple[str, str]]:
    """The merges of a ``vocab.bpe``: a version line, then two tokens a line, the first merge first.

    Raises:
        FormatError: a line has not two tokens; the message gives its number.
    """
    merges = []
    for number, line in enumerate(read_text(data).split("\n"), start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise FormatError(f"line {number} is {line!r}, not two tokens")
        merges.append((pair[0], pair[1]))
    return merges
