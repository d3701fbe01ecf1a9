"""``data.load``: types, shapes, ranges; the real sets' loaders on small files in their formats."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
import zipfile

import data_kit as kit
import numpy as np
import pytest

from xor2gpt import data
from xor2gpt.data import readers, registry, sets, store

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """An empty cache and a mirror folder that tests fill."""
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def stand_in(monkeypatch, mirror, name: str, contents: dict[str, bytes]) -> None:
    """Put small files in place of a set's own: same names and ways, other bytes."""
    dataset = data.info(name)
    variants = []
    for variant in dataset.variants:
        files = tuple(
            dataclasses.replace(
                file,
                size=len(contents[file.path]),
                checksum=kit.sha256(contents[file.path]),
                packed=None,
                urls=(),
            )
            for file in variant.files
            if file.path in contents
        )
        if len(files) == len(variant.files):
            variants.append(dataclasses.replace(variant, files=files))
            kit.put(mirror, {file.mirror: contents[file.path] for file in files})
    assert variants
    changed = dataclasses.replace(dataset, variants=tuple(variants))
    monkeypatch.setitem(registry._SETS, name, changed)


def check_pictures(found, name, train, test, classes):
    """The promises of ``Pictures``."""
    assert isinstance(found, data.Pictures) and found.name == name
    for split, shape in ((found.train, train), (found.test, test)):
        assert isinstance(split, data.Split) and len(split) == shape[0]
        assert split.images.shape == shape and split.images.dtype == np.uint8
        assert split.labels.shape == shape[:1] and split.labels.dtype == np.int64
        assert split.labels.min() >= 0 and split.labels.max() < len(found.classes)
    assert len(found.classes) == classes == len(set(found.classes))


# --- the real sets' loaders -----------------------------------------------------------------------


def test_mnist(monkeypatch, mirror):
    images = {"train": RNG.integers(0, 256, (6, 28, 28), np.uint8)}
    images["t10k"] = RNG.integers(0, 256, (4, 28, 28), np.uint8)
    labels = {"train": np.array([5, 0, 4, 1, 9, 2], np.uint8), "t10k": np.uint8([7, 2, 1, 0])}
    files = {}
    for part in ("train", "t10k"):
        pictures, truth = readers.write_idx(images[part]), readers.write_idx(labels[part])
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(pictures, mtime=0)
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(truth, mtime=0)
    stand_in(monkeypatch, mirror, "mnist", files)
    found = data.load("mnist")
    check_pictures(found, "mnist", (6, 1, 28, 28), (4, 1, 28, 28), 10)
    np.testing.assert_array_equal(found.train.images[:, 0], images["train"])
    np.testing.assert_array_equal(found.test.labels, labels["t10k"])


def test_cifar10(monkeypatch, mirror):
    images = RNG.integers(0, 256, (6, 2, 3, 32, 32), np.uint8)
    folder = "cifar-10-batches-py"
    names = [f"{folder}/data_batch_{i}" for i in range(1, 6)] + [f"{folder}/test_batch"]
    files = {n: kit.cifar_batch(images[i], [i, i + 1]) for i, n in enumerate(names)}
    classes = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse"]
    classes += [b"ship", b"truck"]
    files[f"{folder}/batches.meta"] = kit.python2_pickle({b"label_names": classes})
    stand_in(monkeypatch, mirror, "cifar10", files)
    found = data.load("cifar10")
    check_pictures(found, "cifar10", (10, 3, 32, 32), (2, 3, 32, 32), 10)
    np.testing.assert_array_equal(found.train.images, images[:5].reshape(10, 3, 32, 32))
    assert found.train.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert found.test.labels.tolist() == [5, 6] and found.classes[3] == "cat"
    for split in (found.train, found.test):
        assert split.images.flags.writeable and split.images.flags.c_contiguous


WNIDS = [f"n{number:08d}" for number in (7, 3, 9)]


def tiny_parts(files: dict[str, bytes]) -> dict[str, bytes]:
    """The mirror's files made of a tree: three parts that are empty and one with all classes."""
    base = "tiny-imagenet-200"
    empty = kit.tar_of({}, "w:xz")
    parts = {f"{base}-train-wnids-{k}1-{k + 1}0.tar.xz": empty for k in (1, 2, 3)}
    trains = {name: each for name, each in files.items() if "/train/" in name}
    parts[f"{base}-train-wnids-1-10.tar.xz"] = kit.tar_of(trains, "w:xz")
    vals = {name: each for name, each in files.items() if "/val/" in name}
    parts[f"{base}-val.tar.xz"] = kit.tar_of(vals, "w:xz")
    parts["wnids.txt"] = files[f"{base}/wnids.txt"]
    parts["words.txt.gz"] = gzip.compress(files[f"{base}/words.txt"])
    return parts


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(sets, "TINY_PART", 2)
    return kit.tiny_tree(WNIDS)


def test_tiny_imagenet_from_parts_and_from_the_whole(monkeypatch, mirror, tiny, tmp_path):
    original = data.info("tiny-imagenet")
    stand_in(monkeypatch, mirror, "tiny-imagenet", tiny_parts(tiny))
    parts = data.load("tiny-imagenet")
    check_pictures(parts, "tiny-imagenet", (6, 3, 64, 64), (3, 3, 64, 64), 2)
    assert parts.classes == ("word n00000007", "word n00000003")
    monkeypatch.setitem(registry._SETS, "tiny-imagenet", original)
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path / "other"))
    stand_in(monkeypatch, mirror, "tiny-imagenet", {"tiny-imagenet-200.zip": kit.zip_of(tiny)})
    whole = data.load("tiny-imagenet")
    assert whole.classes == parts.classes
    for one, other in ((parts.train, whole.train), (parts.test, whole.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_all_of_tiny_imagenet(monkeypatch, mirror, tiny):
    stand_in(monkeypatch, mirror, "tiny-imagenet-200", {"tiny-imagenet-200.zip": kit.zip_of(tiny)})
    check_pictures(
        data.load("tiny-imagenet-200"), "tiny-imagenet-200", (9, 3, 64, 64), (4, 3, 64, 64), 3
    )


def test_the_second_load_of_tiny_imagenet_decodes_nothing(monkeypatch, mirror, tiny):
    stand_in(monkeypatch, mirror, "tiny-imagenet", tiny_parts(tiny))
    first = data.load("tiny-imagenet")
    decoded = data.where("tiny-imagenet") / "decoded" / "tiny-imagenet.npy"
    calls = []
    decode = readers.read_tiny_imagenet
    monkeypatch.setattr(
        readers, "read_tiny_imagenet", lambda *args: calls.append(args) or decode(*args)
    )

    def same(found):
        for one, other in ((first.train, found.train), (first.test, found.test)):
            np.testing.assert_array_equal(one.images, other.images)
            np.testing.assert_array_equal(one.labels, other.labels)
        assert found.classes == first.classes

    same(data.load("tiny-imagenet"))
    assert calls == []
    kit.flip(decoded, 5000)
    same(data.load("tiny-imagenet"))
    assert len(calls) == 1, "damaged decoded pictures are decoded again"
    monkeypatch.setattr(sets._Decoded, "decoder", staticmethod(lambda: "pillow 0"))
    same(data.load("tiny-imagenet"))
    assert len(calls) == 2, "another decoder may give other pixels"
    decoded.with_suffix(".json").write_text("{")
    same(data.load("tiny-imagenet"))
    assert len(calls) == 3
    assert sorted(path.name for path in decoded.parent.iterdir()) == [
        "tiny-imagenet.json",
        "tiny-imagenet.npy",
    ]


def test_decoded_pictures_that_cannot_be_kept(monkeypatch, mirror, tiny):
    stand_in(monkeypatch, mirror, "tiny-imagenet", tiny_parts(tiny))

    def full(out, images):
        out.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sets.np, "save", full)
    with pytest.warns(UserWarning, match="cannot be kept"):
        found = data.load("tiny-imagenet")
    check_pictures(found, "tiny-imagenet", (6, 3, 64, 64), (3, 3, 64, 64), 2)
    assert list((data.where("tiny-imagenet") / "decoded").iterdir()) == []


def test_classes_that_share_a_word_are_told_apart():
    words = b"n1\tcrane, bird\nn2\tcrane\nn3\tmaillot\n"
    assert sets._class_names(["n2", "n3", "n1"], words) == ("crane (n2)", "maillot", "crane (n1)")


def test_texts(monkeypatch, mirror):
    stand_in(monkeypatch, mirror, "tinyshakespeare", {"input.txt": b"First Citizen:\nSpeak."})
    found = data.load("tinyshakespeare")
    assert isinstance(found, data.Text) and found.text == "First Citizen:\nSpeak."
    assert len(found) == 21 and found.others == {}
    files = {"24264-0.txt": "紅樓夢".encode(), "红楼梦.txt": "红楼梦".encode()}
    stand_in(monkeypatch, mirror, "hongloumeng", files)
    found = data.load("hongloumeng")
    assert (found.text, found.others) == ("紅樓夢", {"红楼梦.txt": "红楼梦"})
    stand_in(monkeypatch, mirror, "names", {"names.txt": b"emma\nolivia"})
    assert data.load("names") == ["emma", "olivia"]


def test_sms_spam(monkeypatch, mirror):
    content = 'ham\tOk lar "joking\nspam\tFree entry\nham\tü\n'.encode()
    files = {"SMSSpamCollection": content, "readme": b"about"}
    stand_in(monkeypatch, mirror, "sms-spam", files)
    found = data.load("sms-spam")
    assert isinstance(found, data.Messages)
    assert found.texts == ('Ok lar "joking', "Free entry", "ü")
    assert found.labels.tolist() == [0, 1, 0] and found.labels.dtype == np.int64
    assert [found.classes[label] for label in found.labels] == ["ham", "spam", "ham"]


def test_gpt2_bpe(monkeypatch, mirror):
    files = {"vocab.bpe": b"#version: 0.2\nh e\n", "encoder.json": b'{"h": 0, "e": 1, "he": 2}'}
    stand_in(monkeypatch, mirror, "gpt2-bpe", files)
    found = data.load("gpt2-bpe")
    assert found.encoder == {"h": 0, "e": 1, "he": 2} and found.merges == [("h", "e")]


def test_records(monkeypatch, mirror):
    one = [{"instruction": "Say yes.", "input": "", "output": "Yes."}]
    files = {"instruction-data.json": json.dumps(one).encode()}
    stand_in(monkeypatch, mirror, "instruction-data", files)
    assert data.load("instruction-data") == one
    files = {"train.jsonl": b'{"question": "1+1"}\n', "test.jsonl": b'{"question": "2+2"}\n'}
    stand_in(monkeypatch, mirror, "gsm8k", files)
    assert data.load("gsm8k") == {"train": [{"question": "1+1"}], "test": [{"question": "2+2"}]}


def test_weights(monkeypatch, mirror, tmp_path):
    import torch
    from safetensors.torch import save_file

    state = {"wte.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "model.pth")
    (name,) = [file.path for file in data.info("resnet18-imagenet").files]
    contents = {
        "gpt2-124m": {"model.safetensors": (tmp_path / "model.safetensors").read_bytes()},
        "resnet18-imagenet": {name: (tmp_path / "model.pth").read_bytes()},
    }
    for each, files in contents.items():
        stand_in(monkeypatch, mirror, each, files)
        found = data.load(each)
        assert type(found) is dict and set(found) == set(state)
        assert all(torch.equal(found[key], state[key]) for key in state)


def test_hostile_weights_are_refused(monkeypatch, mirror, tmp_path):
    """A checkpoint with the right checksum whose pickle runs a command (weights_only refuses)."""
    import os

    import torch

    class Hostile:
        def __reduce__(self):
            return os.system, ("echo owned > owned",)

    monkeypatch.chdir(tmp_path)
    torch.save({"w": Hostile()}, tmp_path / "model.pth")
    (name,) = [file.path for file in data.info("resnet50-imagenet").files]
    files = {name: (tmp_path / "model.pth").read_bytes()}
    stand_in(monkeypatch, mirror, "resnet50-imagenet", files)
    with pytest.raises(data.FormatError, match="resnet50-imagenet"):
        data.load("resnet50-imagenet")
    assert not (tmp_path / "owned").exists()


def test_a_set_that_breaks_its_format_is_named(monkeypatch, mirror):
    stand_in(monkeypatch, mirror, "instruction-data", {"instruction-data.json": b"[{]"})
    with pytest.raises(data.FormatError, match="'instruction-data': not JSON"):
        data.load("instruction-data")


def test_damage_is_found_before_anything_is_parsed(monkeypatch, mirror):
    """A flipped byte in the cache: the checksum speaks, not the parser."""
    files = {"vocab.bpe": b"#version: 0.2\nh e\n", "encoder.json": b'{"h": 0}'}
    stand_in(monkeypatch, mirror, "gpt2-bpe", files)
    data.load("gpt2-bpe")
    kit.flip(data.where("gpt2-bpe") / "encoder.json")
    with pytest.raises(data.DamagedFile, match="encoder.json is damaged.*data fetch gpt2-bpe"):
        data.load("gpt2-bpe")


def test_nothing_here_and_no_network(monkeypatch):
    monkeypatch.setattr(
        store, "retrieve", lambda url, *_, **__: (_ for _ in ()).throw(data.DownloadFailed(url))
    )
    with pytest.raises(data.DataError, match="(?s)mnist.*What to do.*REAL_DATA = False"):
        data.load("mnist")


def test_every_real_set_has_a_loader_for_its_kind():
    for name in store.names_with_files():
        loader = sets._LOADERS.get(name, sets._records)
        records = "records" in data.info(name).kind
        assert records == (loader is sets._records), name


# --- embedded sets --------------------------------------------------------------------------------


def test_digits():
    from sklearn.datasets import load_digits

    found = data.load("digits")
    check_pictures(found, "digits", (1437, 1, 8, 8), (360, 1, 8, 8), 10)
    assert found.train.images.max() == 16
    assert np.bincount(found.test.labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    both = np.concatenate([found.train.images, found.test.images])[:, 0]
    twin = load_digits().images
    assert sorted(map(bytes, both)) == sorted(map(bytes, twin.astype(np.uint8)))
    again = data.load("digits")
    np.testing.assert_array_equal(found.test.images, again.test.images)


def test_iris():
    from sklearn.datasets import load_iris

    found, twin = data.load("iris"), load_iris()
    assert isinstance(found, data.Table) and len(found) == 150
    np.testing.assert_array_equal(found.features, twin.data)
    np.testing.assert_array_equal(found.labels, twin.target)
    assert found.features.dtype == np.float64 and found.labels.dtype == np.int64
    assert found.classes == ("setosa", "versicolor", "virginica")
    assert found.feature_names[0] == "sepal length"


def test_shapes():
    found = data.load("shapes")
    check_pictures(found, "shapes", (4000, 3, 32, 32), (1000, 3, 32, 32), 10)
    assert set(found.train.factors) >= {"colour", "texture", "radius", "turn"}
    assert np.bincount(found.train.labels).tolist() == [400] * 10
    assert not {*map(bytes, found.train.images)} & {*map(bytes, found.test.images)}


def test_shapes_in_two_domains():
    found = data.load("shapes-two-domains")
    source, target = (4000, 3, 32, 32), (200, 3, 32, 32)
    check_pictures(found.source, "shapes-source", source, (1000, 3, 32, 32), 10)
    check_pictures(found.target, "shapes-target", target, (1000, 3, 32, 32), 20)
    assert not set(found.source.classes) & set(found.target.classes)


def test_grammar():
    found = data.load("grammar")
    assert len(found) == 1_142_147 and found.text.count("\n") == 20_000
    assert found.text.isascii() and len(set(found.text)) == 40


def test_generated_messages():
    found = data.load("spam-generated")
    assert len(found) == len(found.texts) == 5000 and found.classes == ("ham", "spam")
    assert found.labels.dtype == np.int64 and set(found.labels.tolist()) == {0, 1}
    assert len(found.groups) == len(found.tricky) == 5000
    assert found.texts == data.load("spam-generated").texts


def test_generated_instructions():
    found = data.load("instructions-generated")
    assert {part: len(rows) for part, rows in found.items()} == {"train": 4000, "test": 500}
    assert set(found["train"][0]) >= {"instruction", "input", "output", "family", "arguments"}
    train, test = (
        {(row["instruction"], row["input"]) for row in found[part]} for part in ("train", "test")
    )
    assert not train & test


def test_every_embedded_set_loads_without_network_and_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path / "none"))
    monkeypatch.delenv("XOR2GPT_MIRROR")
    monkeypatch.setattr(store, "ensure", None)
    kinds = {"Pictures": data.Pictures, "Text": data.Text, "Table": data.Table}
    kinds |= {"GeneratedMessages": object, "dict of records": dict, "TwoDomains": tuple}
    embedded = [name for name in data.names() if data.info(name).embedded]
    assert set(embedded) == set(sets._EMBEDDED)
    for name in embedded:
        assert isinstance(data.load(name), kinds[data.info(name).kind]), name
    assert not (tmp_path / "none").exists()


def test_a_split_whose_parts_do_not_fit():
    with pytest.raises(ValueError, match="3 pictures and 2 labels"):
        data.Split(np.zeros((3, 1, 2, 2), np.uint8), np.zeros(2, np.int64))


def test_importing_the_package_is_light():
    code = "import sys; from xor2gpt import data; data.info('mnist'); data.where('mnist'); "
    code += "print(*({'torch', 'numpy', 'sklearn', 'pooch', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    with pytest.raises(AttributeError):
        data.lode  # noqa: B018


def test_zip_members_that_are_missing(tmp_path):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/wnids.txt", "n1\n")
    assert readers.read_members(path, {"wnids.txt"}) == {"wnids.txt": b"n1\n"}
    with pytest.raises(data.FormatError, match="words.txt"):
        readers.read_members(path, {"words.txt"})
