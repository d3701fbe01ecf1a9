"""``data.load(name)``: every set as typed arrays, texts or records.

Does: bring a set into the cache, read its verified bytes, give them a type; make embedded sets.
Does not: scale, normalise, augment or tokenise: pictures stay uint8, texts stay text.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xor2gpt.data import readers, registry, store
from xor2gpt.data.errors import FormatError
from xor2gpt.data.registry import Dataset, Variant

__all__ = [
    "BytePairs",
    "Messages",
    "Pictures",
    "Split",
    "Table",
    "Text",
    "load",
]


@dataclass(frozen=True)
class Split:
    """Pictures with labels: ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} pictures and {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Pictures:
    """A picture set: ``train`` and ``test``; ``classes[label]`` is a class's name."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """A text; ``others`` holds further texts of the set by file name."""

    name: str
    text: str
    others: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class Messages:
    """Messages with labels: ``labels`` int64 (N,), 1 = spam, 0 = ham (wanted)."""

    name: str
    texts: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...] = ("ham", "spam")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Table:
    """Rows of numbers: ``features`` float64 (N, F), ``labels`` int64 (N,)."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    feature_names: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class BytePairs:
    """GPT-2's encoding: ``encoder`` maps a token's string to its id, ``merges`` in order.

    Token strings spell bytes by GPT-2's table of printable characters (a space is ``Ġ``).
    """

    name: str
    encoder: dict[str, int]
    merges: list[tuple[str, str]]


def load(name: str, *, progress: bool | None = None) -> object:
    """A set by name; files that are missing are fetched (cache, mirror, canonical address).

    What comes back, by the registry's ``kind``:

    - ``Pictures``: uint8 (N, C, H, W) and int64 labels, ``train`` and ``test``;
    - ``Text``, ``Messages``, ``Table``, ``BytePairs``: see their classes;
    - ``records``: a list of dicts; ``dict of records``: such lists by file name without suffix;
    - ``list of str``; ``weights``: a dict of torch tensors.

    ``data.info(name).contents`` gives numbers, shapes and ranges.

    Args:
        name: one of ``data.names()``.
        progress: a bar on stderr while downloading; ``None`` means where stderr is a terminal.

    Raises:
        UnknownDataset: no such set; the message lists near names.
        DataError: it is not there and cannot be fetched, or is damaged; the message says what to
            do.
    """
    dataset = registry.get(name)
    if dataset.embedded:
        return _EMBEDDED[name]()
    variant = store.ensure(dataset, progress=progress)
    try:
        return _LOADERS.get(name, _records)(dataset, variant)
    except FormatError as error:
        raise FormatError(f"{name!r}: {error}") from error


# --- pictures -------------------------------------------------------------------------------------


def _bytes(dataset: Dataset, variant: Variant) -> dict[str, bytes]:
    """All files of the set, verified, by the last part of their names."""
    return {Path(file.path).name: store.read(dataset, file) for file in variant.files}


def _mnist(dataset: Dataset, variant: Variant) -> Pictures:
    files = _bytes(dataset, variant)

    def split(part: str) -> Split:
        images = readers.read_idx(files[f"{part}-images-idx3-ubyte.gz"])
        labels = readers.read_idx(files[f"{part}-labels-idx1-ubyte.gz"])
        return Split(images[:, None], labels.astype(np.int64))

    classes = tuple(str(digit) for digit in range(10))
    return Pictures(dataset.name, split("train"), split("t10k"), classes)


def _cifar10(dataset: Dataset, variant: Variant) -> Pictures:
    batches, classes = {}, ()
    for file in variant.files:
        data = store.read(dataset, file)
        if file.path.endswith("batches.meta"):
            classes = readers.read_cifar_classes(data)
        else:
            batches[file.path.rsplit("/", 1)[-1]] = readers.read_cifar_batch(data)
    train = [batches[f"data_batch_{number}"] for number in range(1, 6)]
    return Pictures(
        dataset.name,
        Split(*(np.concatenate(part) for part in zip(*train, strict=True))),
        Split(*(np.array(part) for part in batches["test_batch"])),
        classes,
    )


TINY_PART = 40  # classes of the part


def _tiny_imagenet(dataset: Dataset, variant: Variant) -> Pictures:
    limit = TINY_PART if dataset.name == "tiny-imagenet" else None
    cached = _Decoded(store.folder(dataset) / "decoded" / f"{dataset.name}.npy")
    if found := cached.read():
        return _pictures(dataset, *found)
    sources, lists = _tiny_sources(dataset, variant)
    wnids = lists["wnids.txt"].decode("ascii").split()[:limit]
    train, test, _ = readers.read_tiny_imagenet(sources, wnids)
    names = _class_names(wnids, lists["words.txt"])
    cached.write(train, test, names)
    return _pictures(dataset, train, test, names)


def _pictures(dataset: Dataset, train, test, classes: tuple[str, ...]) -> Pictures:
    return Pictures(dataset.name, Split(*train), Split(*test), tuple(classes))


def _tiny_sources(dataset: Dataset, variant: Variant) -> tuple[list[Path], dict[str, bytes]]:
    """The verified archives with pictures, and ``wnids.txt`` and ``words.txt`` unpacked."""
    place = store.folder(dataset)
    for file in variant.files:
        store.check(dataset, file)
    if variant.name == "whole":
        archive = place / variant.files[0].path
        wanted = {"wnids.txt", "words.txt"}
        return [archive], readers.read_members(archive, wanted)
    lists = {
        "wnids.txt": (place / "wnids.txt").read_bytes(),
        "words.txt": readers.gunzip((place / "words.txt.gz").read_bytes()),
    }
    return [place / f.path for f in variant.files if f.path.endswith(".tar.xz")], lists


def _class_names(wnids: list[str], words: bytes) -> tuple[str, ...]:
    """The first word of each class's synonyms, with the id where two classes share it."""
    table = {wnid: names for wnid, names in readers.read_tsv(words, columns=2)}
    first = [table[wnid].split(",")[0].strip() for wnid in wnids]
    return tuple(
        name if first.count(name) == 1 else f"{name} ({wnid})"
        for name, wnid in zip(first, wnids, strict=True)
    )


class _Decoded:
    """Decoded pictures in one uint8 ``.npy`` with a JSON file beside it.

    The JSON holds labels, class names, the array's sha256 and the decoder's version; what does not
    fit is decoded again.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.note = path, path.with_suffix(".json")

    @staticmethod
    def decoder() -> str:
        import PIL

        return f"pillow {PIL.__version__}"

    def read(self) -> tuple | None:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            if note["decoder"] != self.decoder():
                return None
            images = np.load(self.path, allow_pickle=False)
            if hashlib.sha256(images.data).hexdigest() != note["sha256"]:
                return None
            labels = np.array(note["labels"], np.int64)
            count = note["train"]
            train, test = (images[:count], labels[:count]), (images[count:], labels[count:])
            return train, test, tuple(note["classes"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, train, test, classes: tuple[str, ...]) -> None:
        images = np.concatenate([train[0], test[0]])
        note = {
            "decoder": self.decoder(),
            "sha256": hashlib.sha256(images.data).hexdigest(),
            "train": len(train[0]),
            "labels": np.concatenate([train[1], test[1]]).tolist(),
            "classes": list(classes),
        }
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as out:
                np.save(out, images)
            os.replace(temporary, self.path)
            temporary.write_text(json.dumps(note), encoding="utf-8")
            os.replace(temporary, self.note)
        except OSError as error:  # the pictures are in memory all the same
            warnings.warn(f"decoded pictures cannot be kept in {self.path}: {error}", stacklevel=2)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


# --- text -----------------------------------------------------------------------------------------


def _text(dataset: Dataset, variant: Variant) -> Text:
    texts = {name: readers.read_text(data) for name, data in _bytes(dataset, variant).items()}
    first = next(iter(texts))
    return Text(dataset.name, texts.pop(first), texts)


def _lines(dataset: Dataset, variant: Variant) -> list[str]:
    (data,) = _bytes(dataset, variant).values()
    return readers.read_text(data).split()


def _sms(dataset: Dataset, variant: Variant) -> Messages:
    rows = readers.read_tsv(_bytes(dataset, variant)["SMSSpamCollection"], columns=2)
    classes = ("ham", "spam")
    labels = np.array([classes.index(label) for label, _ in rows], np.int64)
    return Messages(dataset.name, tuple(text for _, text in rows), labels)


def _bpe(dataset: Dataset, variant: Variant) -> BytePairs:
    files = _bytes(dataset, variant)
    encoder = readers.read_json(files["encoder.json"])
    return BytePairs(dataset.name, encoder, readers.read_bpe_merges(files["vocab.bpe"]))


def _records(dataset: Dataset, variant: Variant) -> list[dict] | dict[str, object]:
    """JSON and JSON-lines files: one file gives its list, several a dict of lists."""
    found = {}
    for name, data in _bytes(dataset, variant).items():
        read = readers.read_jsonl if name.endswith(".jsonl") else readers.read_json
        found[name.removesuffix(".jsonl").removesuffix(".json")] = read(data)
    return next(iter(found.values())) if len(found) == 1 else found


def _weights(dataset: Dataset, variant: Variant) -> dict:
    (file,) = variant.files
    path = store.check(dataset, file)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise FormatError(f"{file.path} is no plain checkpoint: {error}") from error


_LOADERS: dict[str, Callable[[Dataset, Variant], object]] = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "tiny-imagenet": _tiny_imagenet,
    "tiny-imagenet-200": _tiny_imagenet,
    "tinyshakespeare": _text,
    "the-verdict": _text,
    "tinystories-sample": _text,
    "hongloumeng": _text,
    "names": _lines,
    "sms-spam": _sms,
    "gpt2-bpe": _bpe,
    "gpt2-124m": _weights,
    "resnet18-imagenet": _weights,
    "resnet50-imagenet": _weights,
}


# --- embedded sets --------------------------------------------------------------------------------


def _digits() -> Pictures:
    """scikit-learn's digits: uint8 0 to 16 (its own range), one picture in five for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, random_state=0, stratify=labels
    )
    return Pictures(
        "digits",
        Split(images[train], labels[train]),
        Split(images[test], labels[test]),
        tuple(str(digit) for digit in range(10)),
    )


def _iris() -> Table:
    from sklearn.datasets import load_iris

    bunch = load_iris()
    return Table(
        "iris",
        bunch.data.astype(np.float64),
        bunch.target.astype(np.int64),
        tuple(name.removesuffix(" (cm)") for name in bunch.feature_names),
        tuple(str(name) for name in bunch.target_names),
    )


def _shapes() -> Pictures:
    from xor2gpt.data.synthetic import pictures

    return pictures.shapes_set()


def _two_domains() -> object:
    """``TwoDomains``: two ``Pictures``, ``source`` with many labels and ``target`` with few."""
    from xor2gpt.data.synthetic import pictures

    return pictures.two_domains()


GRAMMAR_SENTENCES = 20_000


def _grammar() -> Text:
    from xor2gpt.data.synthetic.grammar import Grammar

    return Text("grammar", Grammar().sample(GRAMMAR_SENTENCES, seed=0))


SPAM_MESSAGES = 5_000


def _spam() -> object:
    """``GeneratedMessages``: as ``Messages``, with groups of (near) copies and tricky ones."""
    from xor2gpt.data.synthetic.messages import messages

    return messages(SPAM_MESSAGES, seed=0)


INSTRUCTIONS = (4_000, 500)  # for training, for the test


def _instructions() -> dict[str, list[dict]]:
    from xor2gpt.data.synthetic.instructions import train_test

    train, test = train_test(*INSTRUCTIONS, seed=0)
    return {"train": train, "test": test}


_EMBEDDED: dict[str, Callable[[], object]] = {
    "digits": _digits,
    "iris": _iris,
    "shapes": _shapes,
    "shapes-two-domains": _two_domains,
    "grammar": _grammar,
    "spam-generated": _spam,
    "instructions-generated": _instructions,
}
