"""The formats, each against a twin from a library, and against files that lie."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pickle
import struct

import data_kit as kit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from xor2gpt.data import FormatError, readers

# --- IDX ------------------------------------------------------------------------------------------

TYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]


@settings(max_examples=60, deadline=None)
@given(
    array=st.sampled_from(TYPES).flatmap(
        lambda kind: npst.arrays(kind, npst.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    zipped=st.booleans(),
)
def test_idx_there_and_back(array, zipped):
    data = readers.write_idx(array)
    found = readers.read_idx(gzip.compress(data, 1, mtime=0) if zipped else data)
    assert found.dtype == array.dtype and found.dtype.isnative and found.flags.writeable
    np.testing.assert_array_equal(found, array)


def test_idx_bytes_as_mnist_describes_them():
    """Labels 5, 0, 4 and one 2 × 2 picture, spelled out by hand."""
    labels = bytes.fromhex("00000801 00000003 050004")
    np.testing.assert_array_equal(readers.read_idx(labels), [5, 0, 4])
    picture = bytes.fromhex("00000803 00000001 00000002 00000002 00ff0180")
    np.testing.assert_array_equal(readers.read_idx(picture), [[[0, 255], [1, 128]]])
    shorts = bytes.fromhex("00000b01 00000002 0102 ffff")
    np.testing.assert_array_equal(readers.read_idx(shorts), [258, -1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG", "not an IDX file"),
        (bytes.fromhex("00000a01 00000001 00"), "type 0x0a is unknown"),
        (bytes.fromhex("00000803 00000001"), "ends inside its header"),
        (bytes.fromhex("00000801 00000004 050004"), "needs 12 bytes, there are 11"),
        (bytes.fromhex("00000801 00000002 050004"), "needs 10 bytes, there are 11"),
        (bytes.fromhex("00000802 ffffffff ffffffff"), "needs 18,446,744,065,119,617,037 bytes"),
        (
            gzip.compress(bytes.fromhex("00000801 00000003 050004"), mtime=0)[:-9],
            "not a whole gzip",
        ),
        (b"\x1f\x8bnonsense", "not a whole gzip"),
    ],
)
def test_idx_files_that_lie(data, message):
    with pytest.raises(FormatError, match=message):
        readers.read_idx(data)


def test_idx_knows_no_other_types():
    with pytest.raises(FormatError, match="no type for complex128"):
        readers.write_idx(np.zeros(2, complex))


def test_gunzip_stops_at_its_limit():
    bomb = gzip.compress(bytes(100_000))
    assert readers.gunzip(bomb, 100_000) == bytes(100_000)
    with pytest.raises(FormatError, match="more than 99,999 bytes"):
        readers.gunzip(bomb, 99_999)


# --- CIFAR ----------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 3, 32, 32), np.uint8)
LABELS = [3, 8, 8, 0, 6, 9, 1]


@pytest.mark.parametrize("order", ["C", "F"])
def test_cifar_batch_like_plain_pickle(order):
    pixels = np.asarray(IMAGES.reshape(7, -1), order=order)
    data = kit.cifar_batch(IMAGES, LABELS, data=pixels)
    images, labels = readers.read_cifar_batch(data)
    twin = pickle.loads(data, encoding="bytes")
    np.testing.assert_array_equal(images.reshape(7, -1), twin[b"data"])
    np.testing.assert_array_equal(images, IMAGES)
    assert labels.tolist() == twin[b"labels"] == LABELS
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_cifar_class_names():
    meta = kit.python2_pickle({b"label_names": [b"airplane", b"truck"]})
    assert readers.read_cifar_classes(meta) == ("airplane", "truck")
    for bad in ({}, {b"label_names": b"airplane"}, {b"label_names": [1]}, [b"airplane"]):
        with pytest.raises(FormatError):
            readers.read_cifar_classes(kit.python2_pickle(bad))


class _Runs:
    """An object whose unpickling runs a command."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def rebuilt(shape, dtype="u1", data=b"", arguments=None, state=None):
    """An array's pickle by hand: the call of ``_reconstruct``, then the state it gets."""
    from numpy._core.multiarray import _reconstruct

    call = arguments if arguments is not None else (np.ndarray, (0,), b"b")
    whole = state if state is not None else (1, shape, np.dtype(dtype), False, data)

    class Hand:
        def __reduce__(self):
            return _reconstruct, call, whole

    return Hand()


class _NamedLikeNumpy:
    """Pickles as ``numpy.testing.…``: a name of numpy that batches do not use."""

    def __reduce__(self):
        return np.lib.format.open_memmap, ("/nowhere", "w+", "u1", (9,))


@pytest.mark.parametrize(
    "hostile",
    [
        _Runs(os.system, "echo owned"),
        _Runs(eval, "1 + 1"),
        _Runs(exec, "x = 1"),
        _Runs(__import__, "os"),
        _Runs(bytearray, 10**12),
        _Runs(np.dtype, "O"),
        _Runs(np.dtype, "u1", False, True, {"metadata": 1}),
        _Runs(np.ndarray, (10**7, 10**5)),
        _NamedLikeNumpy(),
        rebuilt((10**9, 10**9)),
        rebuilt((7, 3073), data=bytes(7 * 3072)),
        rebuilt((-7, -3072), data=bytes(7 * 3072)),
        rebuilt((7 * 3072,), data=bytes(7 * 3072)),
        rebuilt((7, 384), "f8", bytes(7 * 3072)),
        rebuilt((7, 3072), "O", [None] * (7 * 3072)),
        rebuilt((7, 3072), arguments=(np.ndarray, (10**12,), b"b")),
        rebuilt((7, 3072), arguments=(np.ndarray, (0,), b"d")),
        rebuilt((7, 3072), state=(2, (7, 3072), np.dtype("u1"), False, bytes(7 * 3072))),
        rebuilt((7, 3072), state={"data": 1}),
        "pixels",
        None,
    ],
    ids=lambda hostile: type(hostile).__name__,
)
def test_hostile_cifar_pickles_are_refused(hostile, capfd):
    data = kit.cifar_batch(IMAGES, LABELS, data=hostile) if hostile is not None else b"."
    with pytest.raises(FormatError, match="CIFAR"):
        readers.read_cifar_batch(data)
    assert "owned" not in capfd.readouterr().out


def test_a_dtype_with_a_state_of_its_own_is_refused():
    good = kit.cifar_batch(IMAGES, LABELS)
    state = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert good.count(state) == 1, "the state of unsigned bytes, as numpy writes it"
    with pytest.raises(FormatError, match="state of a dtype"):
        readers.read_cifar_batch(good.replace(state, state[:-2] + b"\x01t"))


@pytest.mark.parametrize(
    "labels", [LABELS[:-1], [*LABELS[:-1], 10], [*LABELS[:-1], -1], [*LABELS[:-1], True], "labels"]
)
def test_cifar_labels_are_checked(labels):
    with pytest.raises(FormatError, match="label"):
        readers.read_cifar_batch(kit.cifar_batch(IMAGES, labels))


def test_cifar_only_numpys_old_names():
    with pytest.raises(FormatError, match=r"numpy\._core\.multiarray\._reconstruct is not allowed"):
        data = kit.cifar_batch(IMAGES, LABELS)
        readers.read_cifar_batch(data.replace(b"numpy.core.", b"numpy._core."))


def test_cifar_size_cap_and_cut_files():
    data = kit.cifar_batch(IMAGES, LABELS)
    readers.read_cifar_batch(data, limit=len(data))
    with pytest.raises(FormatError, match="more than"):
        readers.read_cifar_batch(data, limit=len(data) - 1)
    for cut in range(0, len(data), 977):
        with pytest.raises(FormatError):
            readers.read_cifar_batch(data[:cut])


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_mangled_cifar_pickle_raises_nothing_else(position, value):
    data = bytearray(kit.cifar_batch(IMAGES[:1], [3]))
    data[-position - 1 if position % 2 else position] = value
    try:
        images, labels = readers.read_cifar_batch(bytes(data))
    except FormatError:
        return
    assert images.shape[1:] == (3, 32, 32) and len(images) == len(labels)


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_like_pillow(mode):
    from PIL import Image

    data = kit.picture((5, 9), 1, mode=mode)
    twin = np.asarray(Image.open(io.BytesIO(data)))
    found = readers.read_image(data)
    assert found.shape == (3, 5, 9) and found.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(found[channel], twin if mode == "L" else twin[:, :, channel])
    scaled = readers.read_image(data, size=(4, 6))
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((6, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(scaled, np.asarray(image).transpose(2, 0, 1))


def test_pictures_that_lie(monkeypatch):
    good = kit.picture((8, 8), 1)
    huge = good[:16] + struct.pack(">II", 50_000, 50_000) + good[24:]
    gif = b"GIF89a\1\0\1\0\0\0\0;"
    for data in (b"", b"nonsense", good[:40], kit.picture((8, 8), 1, "JPEG")[:200], gif, huge):
        with pytest.raises(FormatError, match="spot"):
            readers.read_image(data, "spot")


def forms(tmp_path, files):
    """The same tree as a folder, a zip, a tar.gz and a tar.xz."""
    yield kit.put(tmp_path / "tree", files)
    for name, data in (
        ("t.zip", kit.zip_of(files)),
        ("t.tar.gz", kit.tar_of(files)),
        ("t.tar.xz", kit.tar_of(files, "w:xz")),
    ):
        (tmp_path / name).write_bytes(data)
        yield tmp_path / name


def test_image_folder_in_every_form(tmp_path):
    files = {
        f"{c}/{i}.png": kit.picture((6, 5), 10 * k + i) for k, c in enumerate("ba") for i in (1, 0)
    }
    files |= {"a/notes.txt": b"no picture", "loose.png": kit.picture((3, 3), 9)}
    expected = np.stack(
        [readers.read_image(files[n]) for n in ("a/0.png", "a/1.png", "b/0.png", "b/1.png")]
    )
    for source in forms(tmp_path, files):
        images, labels, classes = readers.read_image_folder(source)
        np.testing.assert_array_equal(images, expected)
        assert labels.tolist() == [0, 0, 1, 1] and labels.dtype == np.int64
        assert classes == ("a", "b")


def test_image_folder_of_different_sizes(tmp_path):
    files = {"a/0.png": kit.picture((6, 5), 0), "a/1.jpg": kit.picture((7, 5), 1, "JPEG")}
    kit.put(tmp_path, files)
    with pytest.raises(FormatError, match=r"pass size=\(H, W\)"):
        readers.read_image_folder(tmp_path)
    assert readers.read_image_folder(tmp_path, size=(4, 4))[0].shape == (2, 3, 4, 4)
    with pytest.raises(FormatError, match="no folder with pictures"):
        readers.read_image_folder(tmp_path / "a")


def test_trees_leave_out_links_and_stop_at_the_cap(tmp_path):
    kit.put(tmp_path / "tree", {"a/0.txt": b"12345"})
    (tmp_path / "tree/a/link").symlink_to("/etc/passwd")
    assert list(readers.iter_tree(tmp_path / "tree")) == [("a/0.txt", b"12345")]
    for source in forms(tmp_path / "other", {"a/0.txt": b"12345"}):
        assert list(readers.iter_tree(source)) == [("a/0.txt", b"12345")]
        with pytest.raises(FormatError, match="more than 4"):
            list(readers.iter_tree(source, limit=4))
    (tmp_path / "bad.tar").write_bytes(b"nonsense")
    with pytest.raises(FormatError, match="cannot be unpacked"):
        list(readers.iter_tree(tmp_path / "bad.tar"))


WNIDS = ["n03", "n01", "n02"]


def test_tiny_imagenet_in_every_form(tmp_path):
    files = kit.tiny_tree(WNIDS)
    base = "tiny-imagenet-200"
    names = [f"{base}/train/{w}/images/{w}_{i}.JPEG" for w in WNIDS[:2] for i in range(3)]
    expected = np.stack([readers.read_image(files[name]) for name in names])
    for source in forms(tmp_path, files):
        train, val, wnids = readers.read_tiny_imagenet([source], WNIDS[:2])
        np.testing.assert_array_equal(train[0], expected)
        assert train[1].tolist() == [0, 0, 0, 1, 1, 1] and tuple(WNIDS[:2]) == wnids
        # val_0 is of class n01, val_1 of n02 (not wanted), val_2 of n03, val_3 of n01
        assert val[1].tolist() == [1, 0, 1]
        third = readers.read_image(files[f"{base}/val/images/val_2.JPEG"])
        np.testing.assert_array_equal(val[0][1], third)
    train, val, wnids = readers.read_tiny_imagenet([source])
    assert wnids == ("n01", "n02", "n03") and len(train[0]) == 9 and len(val[0]) == 4


def test_tiny_imagenet_from_parts(tmp_path):
    files = kit.tiny_tree(WNIDS)
    whole = readers.read_tiny_imagenet([kit.put(tmp_path / "whole", files)], WNIDS)
    parts = []
    for part in ("train/n03", "train/n01", "train/n02", "val"):
        chosen = {n: d for n, d in files.items() if n.startswith(f"tiny-imagenet-200/{part}")}
        parts.append(tmp_path / f"{part.replace('/', '-')}.tar.xz")
        parts[-1].write_bytes(kit.tar_of(chosen, "w:xz"))
    found = readers.read_tiny_imagenet(parts, WNIDS)
    for one, other in zip(whole[:2], found[:2], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_tiny_imagenet_that_is_not_whole(tmp_path):
    files = kit.tiny_tree(WNIDS[:2])
    with pytest.raises(FormatError, match="no training picture of n02"):
        readers.read_tiny_imagenet([kit.put(tmp_path / "a", files)], WNIDS)
    files["tiny-imagenet-200/train/n01/images/n01_0.JPEG"] = kit.picture((64, 63), 0, "JPEG")
    with pytest.raises(FormatError, match="n01_0.JPEG: 64 × 63 in place of 64 × 64"):
        readers.read_tiny_imagenet([kit.put(tmp_path / "b", files)], WNIDS[:2])


# --- text -----------------------------------------------------------------------------------------

CELL = st.text(st.characters(blacklist_characters="\t\n\r\0", blacklist_categories=["Cs"]))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(["ham", "spam"]), CELL), max_size=5))
def test_tsv_like_csv_without_quoting(rows):
    data = "".join(f"{label}\t{text}\n" for label, text in rows).encode()
    twin = list(
        csv.reader(io.StringIO(data.decode(), newline="\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    )
    if not any(mark in text for _, text in rows for mark in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        assert readers.read_tsv(data, 2) == twin
    assert readers.read_tsv(data, 2) == [list(row) for row in rows]


def test_tsv_keeps_quotation_marks():
    """A message that opens a quotation and never closes it must not swallow the next ones."""
    data = b'ham\t"Hello\nspam\tsay ""free"" now\nham\ta\tb\r\n\n'
    assert readers.read_tsv(data, 2) == [
        ["ham", '"Hello'],
        ["spam", 'say ""free"" now'],
        ["ham", "a\tb"],
    ]
    with pytest.raises(FormatError, match="line 2 has 1 columns in place of 2"):
        readers.read_tsv(b"ham\tx\nspam\n", 2)
    with pytest.raises(FormatError, match="not UTF-8 at byte 4"):
        readers.read_tsv(b"ham\t\xff\n", 2)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), max_size=4))
def test_json_and_json_lines_like_the_library(rows):
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a lone surrogate: json.dumps lets it pass, UTF-8 does not
        return
    assert readers.read_jsonl(data) == rows
    assert readers.read_json(json.dumps(rows).encode()) == rows


def test_json_that_is_none():
    assert readers.read_json(b"\xef\xbb\xbf[1]") == [1], "a byte order mark is no error"
    with pytest.raises(FormatError, match="line 2 column 1"):
        readers.read_json(b"[1,\n")
    with pytest.raises(FormatError, match="not JSON"):
        readers.read_json(b"[" * 200_000)
    with pytest.raises(FormatError, match="line 3 is not JSON"):
        readers.read_jsonl(b'{"a": 1}\n\n{"a": }\n')
    with pytest.raises(FormatError, match="line 1 is a JSON list"):
        readers.read_jsonl(b"[1]\n")


def test_bpe_merges():
    data = "#version: 0.2\nĠ t\nĠ a\n# #\n".encode()
    assert readers.read_bpe_merges(data) == [("Ġ", "t"), ("Ġ", "a"), ("#", "#")]
    with pytest.raises(FormatError, match="line 2 is 'abc'"):
        readers.read_bpe_merges(b"#version: 0.2\nabc\n")
