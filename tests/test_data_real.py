"""The real files, where a mirror holds them; without one these tests skip and say so."""

from __future__ import annotations

import hashlib
import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from xor2gpt import data
from xor2gpt.data import readers, store
from xor2gpt.data.hashing import digest_of_bytes, matches

MIRROR = os.environ.get("XOR2GPT_MIRROR", "")
pytestmark = pytest.mark.skipif(
    not Path(MIRROR or "/nowhere/at/all").is_dir(),
    reason="XOR2GPT_MIRROR names no folder with the real files",
)
CANONICAL_ONLY = {"tiny-imagenet-200", "gpt2-124m", "resnet18-imagenet", "resnet50-imagenet"}
MIRRORED = [name for name in store.names_with_files() if name not in CANONICAL_ONLY]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", MIRRORED)
def test_every_set_is_whole_in_the_mirror(name):
    rows = data.verify(name)
    assert len(rows) == len(data.info(name).files)
    assert {(row.place, row.status) for row in rows} == {("mirror", "whole")}


def test_every_file_of_the_manifest_is_registered():
    lines = (Path(MIRROR) / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()
    known = {}
    for name in MIRRORED:
        for file in data.info(name).files:
            form = file.packed or file
            known[form.mirror] = (name, form.size, form.checksum, file.checksum)
    rows = [line.split("\t") for line in lines[1:]]
    assert {row[1] for row in rows} == set(known)
    for name, path, size, digest, *_, canonical, _ in rows:
        registered = known[path]
        assert registered[:2] == (name, int(size)), path
        if registered[2].startswith("sha256:"):
            assert registered[2] == f"sha256:{digest}", path
        else:  # batches.meta: the official md5, which the manifest also names
            assert registered[2].removeprefix("md5:") in canonical, path
        if "unpacked md5" in canonical:
            assert registered[3].removeprefix("md5:") in canonical, path


def test_mnist():
    found = data.load("mnist")
    assert found.train.images.shape == (60_000, 1, 28, 28)
    assert found.test.images.shape == (10_000, 1, 28, 28)
    assert found.train.labels[:6].tolist() == [5, 0, 4, 1, 9, 2]
    assert np.bincount(found.test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert round(found.train.images.mean() / 255, 4) == 0.1307, "the mean that everybody quotes"
    assert round(found.train.images.std() / 255, 4) == 0.3081


SMALL = [name for name in MIRRORED if name not in ("mnist", "cifar10", "tiny-imagenet")]


@pytest.mark.parametrize("name", SMALL)
def test_every_small_set_loads_as_its_kind_says(name):
    found, kind = data.load(name), data.info(name).kind
    kinds = {"Text": data.Text, "Messages": data.Messages, "BytePairs": data.BytePairs}
    kinds |= {"list of str": list, "records": list, "dict of records": dict}
    assert isinstance(found, kinds[kind])
    assert [row.status for row in data.verify(name) if row.place == "cache"] == (
        ["whole"] * len(data.info(name).files)
    )


def test_what_the_registry_says_of_the_small_sets():
    shakespeare = data.load("tinyshakespeare").text
    assert (len(shakespeare), len(set(shakespeare))) == (1_115_394, 65)
    assert len(data.load("the-verdict")) == 20_479
    stories = data.load("tinystories-sample")
    assert len(stories) == 942_640 and "<|endoftext|>" not in stories.text
    assert "<|endoftext|>" in stories.others["tinystories_sample.txt"]
    names = data.load("names")
    assert len(names) == 32_033 and {len(name) for name in names} == set(range(2, 16))
    novel = data.load("hongloumeng")
    assert (len(novel), len(novel.others["红楼梦.txt"])) == (906_091, 860_933)
    sms = data.load("sms-spam")
    assert np.bincount(sms.labels).tolist() == [4827, 747]
    bpe = data.load("gpt2-bpe")
    assert (len(bpe.encoder), len(bpe.merges)) == (50_257, 50_000)
    assert bpe.merges[0] == ("Ġ", "t") and bpe.encoder["<|endoftext|>"] == 50_256
    for name, fields in (
        ("instruction-data", {"instruction", "input", "output"}),
        ("preference-data", {"instruction", "input", "output", "rejected", "chosen"}),
    ):
        rows = data.load(name)
        assert len(rows) == 1100 and all(set(row) == fields for row in rows)
    assert len(data.load("alpaca-cherry")) == 3111
    sums = data.load("gsm8k")
    assert {part: len(rows) for part, rows in sums.items()} == {"train": 7473, "test": 1319}
    assert all("#### " in row["answer"] for row in sums["test"])
    tasks = data.load("self-instruct")
    assert [len(rows) for rows in tasks.values()] == [175, 252]
    poems = data.load("chinese-poetry")
    tang = [len(rows) for name, rows in poems.items() if name.startswith("poet.tang")]
    assert len(poems) == 16 and (len(tang), sum(tang)) == (10, 10_008)


def test_one_real_cifar_batch():
    """The test batch: packed and unpacked checksums, then the pictures."""
    files = {file.path.rsplit("/", 1)[-1]: file for file in data.info("cifar10").files}
    file = files["test_batch"]
    squeezed = (Path(MIRROR) / file.packed.mirror).read_bytes()
    assert matches(file.packed.checksum, digest_of_bytes(squeezed, file.packed.checksum))
    batch = lzma.decompress(squeezed)
    assert len(batch) == file.size
    assert f"md5:{hashlib.md5(batch).hexdigest()}" == file.checksum
    images, labels = readers.read_cifar_batch(batch)
    assert images.shape == (10_000, 3, 32, 32) and np.bincount(labels).tolist() == [1000] * 10
    meta = (Path(MIRROR) / files["batches.meta"].mirror).read_bytes()
    classes = readers.read_cifar_classes(meta)
    assert [classes[label] for label in labels[:4]] == ["cat", "ship", "ship", "airplane"]


def test_part_of_the_real_tiny_imagenet():
    """Two of the forty classes: 500 pictures each for training, 50 each for the test."""
    folder = Path(MIRROR) / "tiny-imagenet-200"
    wnids = (folder / "wnids.txt").read_text().split()[:2]
    parts = ["train-wnids-1-10", "val"]
    sources = [folder / f"tiny-imagenet-200-{part}.tar.xz" for part in parts]
    train, val, _ = readers.read_tiny_imagenet(sources, wnids)
    assert train[0].shape == (1000, 3, 64, 64) and train[1].tolist() == [0] * 500 + [1] * 500
    assert val[0].shape == (100, 3, 64, 64) and np.bincount(val[1]).tolist() == [50, 50]
