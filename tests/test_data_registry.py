"""The registry: complete, consistent, and citing what the bibliography has."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import data_kit as kit
import pytest

from xor2gpt import data
from xor2gpt.data import hashing

ROOT = Path(__file__).parents[1]
SETS = [data.info(name) for name in data.names()]
REAL = [each for each in SETS if not each.embedded]
FILES = [(each, file) for each in REAL for variant in each.variants for file in variant.files]
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|sha256-prefix:[0-9a-f]{8,}")


@pytest.mark.parametrize("dataset", SETS, ids=lambda each: each.name)
def test_every_entry_is_complete(dataset):
    assert dataset.title and dataset.kind and dataset.contents and dataset.licence
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", dataset.name)
    if not dataset.embedded:
        assert dataset.citation and dataset.home.startswith("http") and dataset.size > 0


def test_citations_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book/references.bib").read_text(), re.M))
    cited = {key for each in SETS for key in each.citation}
    assert cited and cited <= keys, f"not in references.bib: {sorted(cited - keys)}"


@pytest.mark.parametrize(
    ("dataset", "file"), FILES, ids=[f"{each.name}/{file.path}" for each, file in FILES]
)
def test_every_file_can_be_got_and_verified(dataset, file):
    assert file.size is None or file.size > 0
    for place in (file.path, file.mirror):
        parts = PurePosixPath(place).parts
        assert ".." not in parts and not place.startswith("/") and "\\" not in place
    sums = [file.checksum] + [form.checksum for form in (file.packed, file.archive) if form]
    assert all(CHECKSUM.fullmatch(each) for each in sums if each)
    addresses = file.urls + (file.archive.urls if file.archive else ())
    assert all(address.startswith("https://") and address.isascii() for address in addresses)
    if not addresses:  # Tiny ImageNet's parts: then another form of the set has one
        assert any(other.urls for variant in dataset.variants for other in variant.files)
    assert bool(file.archive) == bool(file.member)


def test_paths_are_unique():
    for dataset in REAL:
        for variant in dataset.variants:
            paths = [file.path for file in variant.files]
            assert len(set(paths)) == len(paths)
    mirrors = {}
    for dataset, file in FILES:  # a mirror path means one content
        assert mirrors.setdefault(file.mirror, file.checksum) == file.checksum, dataset.name


def test_published_hashes_in_file_names_agree():
    """PyTorch prints the beginning of the sha256 into a checkpoint's name."""
    weights = [file for _, file in FILES if file.path.endswith(".pth")]
    assert len(weights) == 2
    for file in weights:
        prefix = re.search(r"-([0-9a-f]{8})\.pth", file.path)[1]
        assert file.checksum.startswith(f"sha256:{prefix}")


def test_known_checksums_by_heart():
    """What other projects publish, so that a slip in the registry shows."""
    cifar = data.info("cifar10").files[0].archive
    assert cifar.checksum == "md5:c58f30108f718f92721af3b95e74349a"
    assert cifar.size == 170_498_071
    (zip_file,) = data.info("tiny-imagenet-200").files
    assert zip_file.checksum == "md5:90528d7ca1a48142e341f4ef8d21d0de"
    assert data.info("gpt2-124m").size == 548_105_171


def test_unknown_names_get_a_hint():
    for wrong, hint in (("minst", "did you mean mnist"), ("zzzz", "there are digits, iris")):
        for function in (data.info, data.where, data.fetch, data.verify, data.load):
            with pytest.raises(data.UnknownDataset, match=hint):
                function(wrong)


def test_checksums(tmp_path):
    text = b"abc"  # digests of FIPS 180-2's and RFC 1321's examples
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path = tmp_path / "abc"
    path.write_bytes(text)
    for checksum, right in (
        (f"sha256:{sha}", True),
        (f"sha256:{sha[:-1]}e", False),
        ("md5:900150983cd24fb0d6963f7d28e17f72", True),
        ("md5:900150983cd24fb0d6963f7d28e17f73", False),
        (f"sha256-prefix:{sha[:8]}", True),
        ("sha256-prefix:a7816bf8", False),
    ):
        for digest in (
            hashing.digest_of_bytes(text, checksum),
            hashing.digest_of_file(path, checksum),
        ):
            assert hashing.matches(checksum, digest) is right
    for wrong in ("crc32:1234", "sha256:", sha):
        with pytest.raises(ValueError, match="is no checksum"):
            hashing.digest_of_bytes(text, wrong)
    assert hashing.plain_hash("sha256-prefix:ba78") is None
    assert hashing.plain_hash("md5:1") == "md5:1" and hashing.plain_hash(None) is None


@pytest.mark.parametrize("dataset", SETS, ids=lambda each: each.name)
def test_the_books_page_says_what_the_registry_says(dataset):
    page = (ROOT / "book/datasets.md").read_text(encoding="utf-8")
    entry = kit.page_entry(dataset)
    assert entry in page, f"book/datasets.md should have this entry:\n\n{entry}"
