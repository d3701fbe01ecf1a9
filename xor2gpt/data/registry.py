"""What data there is: names, files, sizes, checksums, addresses, licences, citations.

Does: describe every set, its files, and each way to get a file: the path below a mirror (as it is,
or packed), addresses of the file itself, or an archive that holds it.
Does not: read, fetch or verify anything (:mod:`xor2gpt.data.store`), or parse a format
(:mod:`xor2gpt.data.readers`).
Source: the sets' own pages, named in each entry. A checksum is the publishers' where they publish
one (CIFAR-10, GPT-2's encoding and weights, torchvision's), else that of the file at the first
address, which names a fixed version where it can.

A checksum is ``"sha256:<64 hex>"``, ``"md5:<32 hex>"`` or ``"sha256-prefix:<hex>"``; the last is
what PyTorch prints into its weights' file names.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from urllib.parse import quote

__all__ = ["Archive", "Dataset", "File", "Packed", "UnknownDataset", "Variant", "get", "names"]

MIB = 2**20


class UnknownDataset(ValueError):
    """No set has this name; the message lists the names that come near."""


@dataclass(frozen=True)
class Packed:
    """A compressed form in which a mirror may hold a file (``xz``)."""

    mirror: str
    size: int
    checksum: str


@dataclass(frozen=True)
class Archive:
    """A zip or tar at a canonical address that holds files of a set.

    ``size`` is in bytes, ``None`` where the publisher states none; ``checksum`` likewise (each
    member is verified anyway). ``mirror`` is where a mirror may hold the archive itself.
    """

    urls: tuple[str, ...]
    mirror: str
    size: int | None = None
    checksum: str | None = None

    @property
    def name(self) -> str:
        return self.mirror.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class File:
    """One file of a set as it lies in the cache, and the ways to get it.

    ``path`` is below the set's folder, ``mirror`` below the mirror's. ``member`` is the file's name
    inside ``archive``.
    """

    path: str
    size: int | None
    checksum: str
    mirror: str
    urls: tuple[str, ...] = ()
    packed: Packed | None = None
    archive: Archive | None = None
    member: str = ""


@dataclass(frozen=True)
class Variant:
    """One complete form of a set: Tiny ImageNet is parts on a mirror, one zip at its source."""

    name: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Dataset:
    """A set. ``kind`` says what ``data.load`` gives; ``citation`` are keys of the bibliography.

    ``variants`` is empty for embedded sets: they need no file. Sets with the same ``shelf`` share
    a folder of the cache.
    """

    name: str
    title: str
    kind: str
    contents: str
    licence: str
    citation: tuple[str, ...]
    home: str = ""
    version: str = "1"
    variants: tuple[Variant, ...] = ()
    note: str = ""
    shelf: str = ""

    @property
    def embedded(self) -> bool:
        """Whether the set comes with the course: no file, no network."""
        return not self.variants

    @property
    def files(self) -> tuple[File, ...]:
        """The files of the preferred form."""
        return self.variants[0].files if self.variants else ()

    @property
    def size(self) -> int:
        """Bytes of the preferred form in the cache."""
        return sum(file.size or 0 for file in self.files)


def get(name: str) -> Dataset:
    """The set of this name.

    Raises:
        UnknownDataset: there is none.
    """
    if name in _SETS:
        return _SETS[name]
    near = difflib.get_close_matches(str(name), _SETS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_SETS)}."
    raise UnknownDataset(f"there is no set {name!r}: {hint}")


def names() -> tuple[str, ...]:
    """The names of all sets: the embedded ones first, then by subject."""
    return tuple(_SETS)


def _github(repository: str, commit: str, path: str, branch: str) -> tuple[str, ...]:
    """Addresses of a file on GitHub: the commit whose checksum we know, then the branch."""
    base = f"https://raw.githubusercontent.com/{repository}"
    return tuple(f"{base}/{ref}/{quote(path)}" for ref in (commit, branch))


def _single(*files: File) -> tuple[Variant, ...]:
    return (Variant("files", files),)


def _sha256(digest: str) -> str:
    return f"sha256:{digest}"


# --- embedded sets --------------------------------------------------------------------------------

_EMBEDDED = (
    Dataset(
        name="digits",
        title="Handwritten digits, 8 × 8",
        kind="Pictures",
        contents=(
            "train 1,437 and test 360 pictures (1, 8, 8), uint8 0 to 16; 10 classes, "
            "stratified split, seed 0"
        ),
        licence="CC BY 4.0 (UCI 80); comes with scikit-learn",
        citation=("alpaydin1998digits", "pedregosa2011"),
        home="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    ),
    Dataset(
        name="iris",
        title="Fisher's iris flowers",
        kind="Table",
        contents="150 rows × 4 lengths in cm (float64, 0.1 to 7.9); 3 classes of 50",
        licence="CC BY 4.0 (UCI 53); comes with scikit-learn",
        citation=("fisher1936", "anderson1936"),
        home="https://archive.ics.uci.edu/dataset/53/iris",
    ),
    Dataset(
        name="shapes",
        title="Small colour pictures: shapes × colours × textures",
        kind="Pictures",
        contents=(
            "train 4,000 and test 1,000 pictures (3, 32, 32), uint8 0 to 255; 10 shapes; each "
            "split also has `factors`: colour, texture, size, place and other nuisances"
        ),
        licence="MIT (generated by the course)",
        citation=(),
    ),
    Dataset(
        name="shapes-two-domains",
        title="Two domains of shapes, many labels in one and few in the other",
        kind="TwoDomains",
        contents=(
            "`source` (4,000 + 1,000 pictures of 10 shapes) and `target` (200 + 1,000 of 20 other "
            "shapes in other colours), each `Pictures` (3, 32, 32), uint8 0 to 255"
        ),
        licence="MIT (generated by the course)",
        citation=(),
    ),
    Dataset(
        name="grammar",
        title="Sentences of a grammar whose entropy is known exactly",
        kind="Text",
        contents=(
            "20,000 sentences, one a line, 1,142,147 characters of ASCII, 40 different ones; "
            "`xor2gpt.data.synthetic.grammar.Grammar` makes more and gives the exact entropy"
        ),
        licence="MIT (generated by the course)",
        citation=(),
    ),
    Dataset(
        name="spam-generated",
        title="Short messages, wanted and unwanted, from a generator",
        kind="GeneratedMessages",
        contents=(
            "5,000 messages: ham (0) and spam (1); as `Messages`, and `groups` tell which are "
            "copies or near copies of one another, `tricky` which look like the other class"
        ),
        licence="MIT (generated by the course)",
        citation=(),
    ),
    Dataset(
        name="instructions-generated",
        title="Instructions with answers that can be checked exactly",
        kind="dict of records",
        contents=(
            '"train" 4,000 and "test" 500 dicts: instruction, input (may be empty), output, '
            "family, arguments; no question of the test is in the training part"
        ),
        licence="MIT (generated by the course)",
        citation=(),
    ),
)


# --- pictures -------------------------------------------------------------------------------------


def _mnist(name: str, size: int, digest: str) -> File:
    hosts = (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )
    urls = tuple(f"{host}/{name}" for host in hosts)
    return File(name, size, _sha256(digest), f"mnist/{name}", urls)


_CIFAR_ARCHIVE = Archive(
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    mirror="cifar10/cifar-10-python.tar.gz",
    size=170_498_071,
    checksum="md5:c58f30108f718f92721af3b95e74349a",
)


def _cifar(name: str, md5: str, size: int, packed: tuple[int, str] | None = None) -> File:
    path = f"cifar-10-batches-py/{name}"
    mirror = f"cifar10/{path}"
    return File(
        path=path,
        size=size,
        checksum=f"md5:{md5}",
        mirror=mirror,
        packed=Packed(f"{mirror}.xz", packed[0], _sha256(packed[1])) if packed else None,
        archive=_CIFAR_ARCHIVE,
        member=path,
    )


_TINY_ZIP = "tiny-imagenet-200.zip"
_TINY_WHOLE = Variant(
    "whole",
    (
        File(
            path=_TINY_ZIP,
            size=248_100_043,
            checksum="md5:90528d7ca1a48142e341f4ef8d21d0de",
            mirror=f"tiny-imagenet-200/{_TINY_ZIP}",
            urls=(f"https://cs231n.stanford.edu/{_TINY_ZIP}",),
        ),
    ),
)
_TINY_LICENCE = "ImageNet's terms: non-commercial research and teaching only; may not be passed on"
_TINY_HOME = "https://cs231n.stanford.edu"


def _tiny(name: str, size: int, digest: str) -> File:
    return File(name, size, _sha256(digest), f"tiny-imagenet-200/{name}")


_PICTURES = (
    Dataset(
        name="mnist",
        title="MNIST: handwritten digits",
        kind="Pictures",
        contents="train 60,000 and test 10,000 pictures (1, 28, 28), uint8 0 to 255; 10 classes",
        licence="CC BY-SA 3.0 (as commonly stated)",
        citation=("lecun1998",),
        home="http://yann.lecun.com/exdb/mnist/",
        variants=_single(
            _mnist(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            _mnist(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            _mnist(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            _mnist(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    Dataset(
        name="cifar10",
        title="CIFAR-10: small colour photographs",
        kind="Pictures",
        contents="train 50,000 and test 10,000 pictures (3, 32, 32), uint8 0 to 255; 10 classes",
        licence="none stated by the authors; used for research and teaching with the citation",
        citation=("krizhevsky2009",),
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        note="drawn from the 80 Million Tiny Images, which their authors have withdrawn",
        variants=_single(
            _cifar(
                "data_batch_1",
                "c99cafc152244af753f735de768cd75f",
                31_035_704,
                (22_841_764, "bd7944cbe022c0dcda44501296e956303c2623cbcc48c7c3dfe7d121b96f4e41"),
            ),
            _cifar(
                "data_batch_2",
                "d4bba439e000b95fd0a9bffe97cbabec",
                31_035_320,
                (22_890_360, "515462828d9abcf1c348b43e0da9b1ee79d7da1dcb219edbb70656b4be1153d8"),
            ),
            _cifar(
                "data_batch_3",
                "54ebc095f3ab1f0389bbae665268c751",
                31_035_999,
                (22_888_260, "876b288ef2996cca49a33b7cdc0646a1f6628f8a4a2ab80c09a0c28bdd9fc7d9"),
            ),
            _cifar(
                "data_batch_4",
                "634d18415352ddfa80567beed471001a",
                31_035_696,
                (22_877_692, "8e1465489366aefae73e44ee5ecdd25d5cd60b3ae6f2f97c98ca08e17a2ddde7"),
            ),
            _cifar(
                "data_batch_5",
                "482c414d41f54cd18b22e5b47cb7c3cb",
                31_035_623,
                (22_845_284, "c8cb4cead91e0aabcad7d3e24df9250b2c4206ae32f357d62b1f95ac26f02d9c"),
            ),
            _cifar(
                "test_batch",
                "40351d587109b95175f43aff81a1287e",
                31_035_526,
                (22_860_680, "c8c34a93aa5728ade7259e72d21157c8160cdbfcccd54187fd6f5c92c8c86536"),
            ),
            _cifar("batches.meta", "5ff9c542aee3614f3951f8cda6e48888", 158),
        ),
    ),
    Dataset(
        name="tiny-imagenet",
        title="Tiny ImageNet, the first 40 of its 200 classes",
        kind="Pictures",
        contents=(
            "train 20,000 and test 2,000 pictures (3, 64, 64), uint8 0 to 255; 40 classes; the "
            "test pictures are the official validation pictures of these classes"
        ),
        licence=_TINY_LICENCE,
        citation=("deng2009imagenet", "le2015tiny"),
        home=_TINY_HOME,
        shelf="tiny-imagenet-200",
        note=(
            "a mirror may hold parts (10 classes each); without one the whole zip is fetched and "
            "the same 40 classes are taken from it"
        ),
        variants=(
            Variant(
                "parts",
                (
                    _tiny(
                        "tiny-imagenet-200-train-wnids-1-10.tar.xz",
                        6_723_596,
                        "a18da8305fef23d5ca3e4862f267c75ba028597f5c3714714d58c2ac7178fda4",
                    ),
                    _tiny(
                        "tiny-imagenet-200-train-wnids-11-20.tar.xz",
                        7_276_892,
                        "6631f932c85d0c3d82d50bcdc7ed3ce6760343d9d981d8a91eb685f068fec675",
                    ),
                    _tiny(
                        "tiny-imagenet-200-train-wnids-21-30.tar.xz",
                        6_344_044,
                        "fc3b42852d586cc158e350eb123f1dce0ac58fe2fa693d226a7a7ae7fabb351a",
                    ),
                    _tiny(
                        "tiny-imagenet-200-train-wnids-31-40.tar.xz",
                        6_797_356,
                        "4f30149fa83d6a2b65820825d91b814aa68deed24a18c676ddf7d8baed56e959",
                    ),
                    _tiny(
                        "tiny-imagenet-200-val.tar.xz",
                        13_540_676,
                        "7bed0b3aaa68efde686620b0390a273801071c3b61b2966fd9dac25310ccca63",
                    ),
                    _tiny(
                        "wnids.txt",
                        2_000,
                        "a36eb4b603007f1985cdfbfc5987166a2710b3c6f0f6d3e29636fc129bba527b",
                    ),
                    _tiny(
                        "words.txt.gz",
                        1_001_381,
                        "db1983d8e0f8a39d917650ca43f2d6bc29d1f5a8462cc0138282d04dd52c8271",
                    ),
                ),
            ),
            _TINY_WHOLE,
        ),
    ),
    Dataset(
        name="tiny-imagenet-200",
        title="Tiny ImageNet, all 200 classes",
        kind="Pictures",
        contents=(
            "train 100,000 and test 10,000 pictures (3, 64, 64), uint8 0 to 255; 200 classes; the "
            "test pictures are the official validation pictures (the test labels are not public)"
        ),
        licence=_TINY_LICENCE,
        citation=("deng2009imagenet", "le2015tiny"),
        home=_TINY_HOME,
        note="decoded pictures take 1.4 GB of memory and as much in the cache",
        variants=(_TINY_WHOLE,),
    ),
)


# --- text -----------------------------------------------------------------------------------------

_RASBT = ("rasbt/LLMs-from-scratch", "28c65cdfbc3338e2e040016eea4b7fdf556e4d57")
_SMS_ARCHIVE = Archive(
    urls=("https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",),
    mirror="sms-spam/sms+spam+collection.zip",
)
_BPE = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
_GPT2 = (
    "https://huggingface.co/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e"
)

_TEXTS = (
    Dataset(
        name="tinyshakespeare",
        title="Tiny Shakespeare",
        kind="Text",
        contents="1,115,394 characters of ASCII, 65 different ones",
        licence="public domain (text); MIT (repository)",
        citation=("karpathy2015charrnn",),
        home="https://github.com/karpathy/char-rnn",
        variants=_single(
            File(
                "input.txt",
                1_115_394,
                _sha256("86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
                "tinyshakespeare/input.txt",
                _github(
                    "karpathy/char-rnn",
                    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
                    "data/tinyshakespeare/input.txt",
                    "master",
                ),
            ),
        ),
    ),
    Dataset(
        name="the-verdict",
        title="The Verdict, a short story by Edith Wharton (1908)",
        kind="Text",
        contents="20,479 characters of ASCII, 62 different ones",
        licence="public domain (text); Apache-2.0 (repository)",
        citation=("wharton1908", "raschka2024"),
        home="https://en.wikisource.org/wiki/The_Verdict",
        variants=_single(
            File(
                "the-verdict.txt",
                20_479,
                _sha256("b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f"),
                "the-verdict/the-verdict.txt",
                _github(*_RASBT, "ch02/01_main-chapter-code/the-verdict.txt", "main"),
            ),
        ),
    ),
    Dataset(
        name="tinystories-sample",
        title="TinyStories, a sample",
        kind="Text",
        contents=(
            "942,640 characters of the training part, stories one after the other without marks; "
            "`others` holds a small sample with <|endoftext|> marks"
        ),
        licence="CDLA-Sharing-1.0",
        citation=("eldan2023tinystories",),
        home="https://huggingface.co/datasets/roneneldan/TinyStories",
        variants=_single(
            File(
                "tiny_stories.txt",
                944_426,
                _sha256("c56cfd24fb1c542b141a396184b822a4db3672abdb4c49c6aa843171c5e822a5"),
                "tinystories-sample/tiny_stories.txt",
                _github(
                    "s-ajaykumar/smallGPT",
                    "b8b899265a5574abd2c19d8857039309184a357c",
                    "data/tiny_stories.txt",
                    "main",
                ),
            ),
            File(
                "tinystories_sample.txt",
                3_794,
                _sha256("defaedb58bf28079f3e29c6142cb7f3568d331a577e0911c5d7925c465c50c43"),
                "tinystories-sample/tinystories_sample.txt",
                _github(
                    "stanford-cs336/assignment1-basics",
                    "25a8a49f6460c83a30416d42348f2ef11d1dd185",
                    "tests/fixtures/tinystories_sample.txt",
                    "main",
                ),
            ),
        ),
    ),
    Dataset(
        name="names",
        title="32,033 first names",
        kind="list of str",
        contents="32,033 names in lower-case ASCII, 2 to 15 letters",
        licence="MIT (repository); the names are public records of the US government",
        citation=("karpathy2022makemore",),
        home="https://github.com/karpathy/makemore",
        variants=_single(
            File(
                "names.txt",
                228_145,
                _sha256("0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"),
                "names/names.txt",
                _github(
                    "karpathy/makemore",
                    "988aa59e4d8fefa526d06f3b453ad116258398d4",
                    "names.txt",
                    "master",
                ),
            ),
        ),
    ),
    Dataset(
        name="sms-spam",
        title="SMS Spam Collection",
        kind="Messages",
        contents="5,574 messages: 4,827 ham (0) and 747 spam (1)",
        licence="CC BY 4.0 (UCI 228)",
        citation=("almeida2011sms",),
        home="https://archive.ics.uci.edu/dataset/228/sms+spam+collection",
        variants=_single(
            File(
                "SMSSpamCollection",
                477_907,
                _sha256("7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"),
                "sms-spam/SMSSpamCollection",
                archive=_SMS_ARCHIVE,
                member="SMSSpamCollection",
            ),
            File(
                "readme",
                5_793,
                _sha256("656da9ff765ddeb69841ef429e3ad65f2207a9f410892a6f04f06542426fb75c"),
                "sms-spam/readme",
                archive=_SMS_ARCHIVE,
                member="readme",
            ),
        ),
    ),
    Dataset(
        name="gpt2-bpe",
        title="GPT-2's byte-pair encoding",
        kind="BytePairs",
        contents="50,257 token strings with their ids and 50,000 merges in order",
        licence="Modified MIT (OpenAI)",
        citation=("radford2019",),
        home="https://github.com/openai/gpt-2",
        variants=_single(
            File(
                "vocab.bpe",
                456_318,
                _sha256("1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
                "gpt2-bpe/vocab.bpe",
                (f"{_BPE}/vocab.bpe", f"{_GPT2}/merges.txt"),
            ),
            File(
                "encoder.json",
                1_042_301,
                _sha256("196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
                "gpt2-bpe/encoder.json",
                (f"{_BPE}/encoder.json", f"{_GPT2}/vocab.json"),
            ),
        ),
    ),
)


def _poem(name: str, folder: str, size: int, digest: str) -> File:
    return File(
        name,
        size,
        _sha256(digest),
        f"chinese-poetry/{name}",
        _github(
            "chinese-poetry/chinese-poetry",
            "99ebbef7e1345c0985c44b9fd96a3f9e776f117b",
            f"{folder}/{name}",
            "master",
        ),
    )


_CHINESE = (
    Dataset(
        name="chinese-poetry",
        title="Classical Chinese poetry and prose, a selection",
        kind="dict of records",
        contents=(
            "16 JSON files by name: the Book of Songs, the Analects, 10,008 Tang poems in ten "
            "files of about 1,000, Song lyrics, prose; 14 lists of dicts, 2 dicts; fields differ"
        ),
        licence="public domain (texts); MIT (repository)",
        citation=("chinesepoetry2026",),
        home="https://github.com/chinese-poetry/chinese-poetry",
        variants=_single(
            _poem(
                "guwenguanzhi.json",
                "蒙学",
                475_985,
                "ba10ec02849d58bebcc8da575dda3da07a1123e2a31dab3f734acd95d48c5cac",
            ),
            _poem(
                "lunyu.json",
                "论语",
                74_799,
                "bc336a3839706377892719db44c48a09794a493190535a42bf1c7d4c4233e96c",
            ),
            _poem(
                "poet.tang.0.json",
                "全唐诗",
                408_405,
                "4f88f429938082523cdc72a1612bd7a7c3e3f7a33f8192c61ae51340efc3c92d",
            ),
            _poem(
                "poet.tang.1000.json",
                "全唐诗",
                477_519,
                "6e703b8d8dcedbd6110f6d48d043665ca2131db2035a5bfcef5e59a19aeb6d75",
            ),
            _poem(
                "poet.tang.2000.json",
                "全唐诗",
                417_948,
                "ec28efa7e2ae9cdbbba09f0ed186e32ccae47a325ad1e5816b7ad56071c1665a",
            ),
            _poem(
                "poet.tang.3000.json",
                "全唐诗",
                453_811,
                "9e4ba2323752b6b9fbdba875cdbc6a26636fe0cabc85fd066370d4915952001f",
            ),
            _poem(
                "poet.tang.4000.json",
                "全唐诗",
                488_655,
                "b8a7946c879b9658a6c667a4c55f776fae7e5e00a17789ab06b274c1429afc66",
            ),
            _poem(
                "poet.tang.5000.json",
                "全唐诗",
                467_225,
                "a0306e6962cff01639ad9a00b042a201b8dec1f30fa5d768a7b112589887861e",
            ),
            _poem(
                "poet.tang.6000.json",
                "全唐诗",
                470_031,
                "982a21d2b15922b406911f1c825785054314c686da86b2155d7aebb362d22771",
            ),
            _poem(
                "poet.tang.7000.json",
                "全唐诗",
                474_558,
                "a6fb69d7b4343c904dc56ae5aae34facc2478d196b51c37ceba9d1e2f171b342",
            ),
            _poem(
                "poet.tang.8000.json",
                "全唐诗",
                574_248,
                "ac3848e95b02736168003863795de4474838c2d6a71a24ca2a4a280ea5177773",
            ),
            _poem(
                "poet.tang.9000.json",
                "全唐诗",
                476_882,
                "b99d6596e3a1fe1a661652383083f92d196b8baf4e461d087081d5e1e1b7a51f",
            ),
            _poem(
                "qianziwen.json",
                "蒙学",
                11_983,
                "85f0c3ec28930ab41ad8766041efdc340dbdd654b9160d877801b62f714e6aa9",
            ),
            _poem(
                "shijing.json",
                "诗经",
                156_972,
                "3c7ca54d59424542ada99adfcc85420287fbbd5c8a511e9baf705cb2b04051e7",
            ),
            _poem(
                "唐诗三百首.json",
                "全唐诗",
                190_787,
                "d77a145f7470da2ed2f79515944563c062ffc43fceda07f195a36ead66b7e5c7",
            ),
            _poem(
                "宋词三百首.json",
                "宋词",
                151_283,
                "ca5d74f7fdb9d5a6acc22a7c8b4395228cad4bb8be53df44c19ba83ab6983b20",
            ),
        ),
    ),
    Dataset(
        name="hongloumeng",
        title="Dream of the Red Chamber (紅樓夢), by Cao Xueqin",
        kind="Text",
        contents=(
            "the novel in traditional characters (906,091); `others` holds it in simplified ones "
            "(860,933, lines end with CR LF)"
        ),
        licence="public domain (text)",
        citation=("caoxueqin1791",),
        home="https://www.gutenberg.org/ebooks/24264",
        variants=_single(
            File(
                "24264-0.txt",
                2_615_304,
                _sha256("e7aa4601dc6c68ba9b182112b7aab5de96eeb9e17e2867b349e4d3d806a55519"),
                "hongloumeng/24264-0.txt",
                (
                    "https://raw.githubusercontent.com/gutenbergbooks/24264/"
                    "1eabcbb135f18e31dc1141927ab634811ef18701/24264-0.txt",
                    "https://www.gutenberg.org/files/24264/24264-0.txt",
                ),
            ),
            File(
                "红楼梦.txt",
                2_522_985,
                _sha256("5eca888fb54188d644df70fa555dd3c9cbdd3a8d7b3034fb59f7a81e16f05dc7"),
                "hongloumeng/红楼梦.txt",
                _github(
                    "tennessine/corpus",
                    "c5ce96aca36c6a3cb4da5f0ff7d2d5fa30c32aea",
                    "红楼梦.txt",
                    "master",
                ),
            ),
        ),
    ),
)

_RECORDS = (
    Dataset(
        name="instruction-data",
        title="1,100 instructions with answers",
        kind="records",
        contents="1,100 dicts: instruction, input (may be empty), output",
        licence="Apache-2.0",
        citation=("raschka2024",),
        home="https://github.com/rasbt/LLMs-from-scratch",
        variants=_single(
            File(
                "instruction-data.json",
                203_524,
                _sha256("7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944"),
                "instruction-data/instruction-data.json",
                _github(*_RASBT, "ch07/01_main-chapter-code/instruction-data.json", "main"),
            ),
        ),
    ),
    Dataset(
        name="preference-data",
        title="The same instructions with a chosen and a rejected answer",
        kind="records",
        contents="1,100 dicts: instruction, input, output, rejected, chosen",
        licence="Apache-2.0; the answers come from Llama 3.1 70B (its community licence applies)",
        citation=("raschka2024",),
        home="https://github.com/rasbt/LLMs-from-scratch",
        variants=_single(
            File(
                "instruction-data-with-preference.json",
                386_968,
                _sha256("305315abf14f65fa42c01a0877572f832606571c2a7d49f152ac1d758b16756e"),
                "instruction-data/instruction-data-with-preference.json",
                _github(
                    *_RASBT,
                    "ch07/04_preference-tuning-with-dpo/instruction-data-with-preference.json",
                    "main",
                ),
            ),
        ),
    ),
    Dataset(
        name="gsm8k",
        title="GSM8K: grade-school sums in words",
        kind="dict of records",
        contents='"train" 7,473 and "test" 1,319 dicts: question, answer (ends in #### number)',
        licence="MIT",
        citation=("cobbe2021gsm8k",),
        home="https://github.com/openai/grade-school-math",
        variants=_single(
            *(
                File(
                    f"{part}.jsonl",
                    size,
                    _sha256(digest),
                    f"gsm8k/{part}.jsonl",
                    _github(
                        "openai/grade-school-math",
                        "3101c7d5072418e28b9008a6636bde82a006892c",
                        f"grade_school_math/data/{part}.jsonl",
                        "master",
                    ),
                )
                for part, size, digest in (
                    (
                        "train",
                        4_166_206,
                        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
                    ),
                    (
                        "test",
                        749_738,
                        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
                    ),
                )
            )
        ),
    ),
    Dataset(
        name="alpaca-cherry",
        title="Cherry: the 5 % of Alpaca that teach most",
        kind="records",
        contents="3,111 dicts: instruction, input (may be empty), output",
        licence="CC BY-NC 4.0 (non-commercial)",
        citation=("taori2023alpaca", "li2024cherry"),
        home="https://github.com/MingLiiii/Cherry_LLM",
        variants=_single(
            File(
                "cherry_alpaca_5_percent.json",
                2_716_159,
                _sha256("8dfaca9b4bea1a81e5234b2b408e2070f7f4a40f6e26c8b556b503e0587fe15d"),
                "alpaca-cherry/cherry_alpaca_5_percent.json",
                _github(
                    "MingLiiii/Cherry_LLM",
                    "ad15ef5e6fa3219afa6d22dc00779a232e929cda",
                    "cherry_data_v1/cherrt_alpaca/cherry_alpaca_5_percent.json",
                    "main",
                ),
            ),
        ),
    ),
    Dataset(
        name="self-instruct",
        title="Self-Instruct: seed tasks and user-oriented instructions",
        kind="dict of records",
        contents=(
            '"seed_tasks" 175 dicts (instruction, instances, name, id, is_classification) and '
            '"user_oriented_instructions" 252 dicts (instruction, instances, motivation_app, id)'
        ),
        licence="Apache-2.0",
        citation=("wang2023selfinstruct",),
        home="https://github.com/yizhongw/self-instruct",
        variants=_single(
            *(
                File(
                    path.rsplit("/", 1)[-1],
                    size,
                    _sha256(digest),
                    f"self-instruct/{path.rsplit('/', 1)[-1]}",
                    _github(
                        "yizhongw/self-instruct",
                        "0b26ccaa415992100fa32df62d41b994cf928e23",
                        path,
                        "main",
                    ),
                )
                for path, size, digest in (
                    (
                        "data/seed_tasks.jsonl",
                        110_934,
                        "7779004fa198fdf27cf70a159363879d8a26c53329e11b436af17b3941875f48",
                    ),
                    (
                        "human_eval/user_oriented_instructions.jsonl",
                        170_193,
                        "81d60a117db495cecedecd9193504fd07c5b5a42f6699ef6b0f9da10fc22f42e",
                    ),
                )
            )
        ),
    ),
)


# --- weights --------------------------------------------------------------------------------------


def _resnet(depth: int, digest: str, size: int) -> Dataset:
    name = f"resnet{depth}-{digest[:8]}.pth"  # PyTorch puts the digest's beginning into the name
    return Dataset(
        name=f"resnet{depth}-imagenet",
        title=f"ResNet-{depth} trained on ImageNet (torchvision)",
        kind="weights",
        contents="dict from torchvision's parameter names to torch tensors (float32; int64 counts)",
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose terms are non-commercial",
        citation=("he2016", "paszke2019pytorch"),
        home="https://docs.pytorch.org/vision/stable/models.html",
        variants=_single(
            File(
                name,
                size,
                _sha256(digest),
                f"weights/{name}",
                (f"https://download.pytorch.org/models/{name}",),
            ),
        ),
    )


_WEIGHTS = (
    Dataset(
        name="gpt2-124m",
        title="GPT-2 small, 124 million parameters",
        kind="weights",
        contents="dict from OpenAI's parameter names to torch tensors (float32)",
        licence="Modified MIT (OpenAI)",
        citation=("radford2019",),
        home="https://huggingface.co/openai-community/gpt2",
        variants=_single(
            File(
                "model.safetensors",
                548_105_171,
                _sha256("248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"),
                "weights/gpt2-124m/model.safetensors",
                (f"{_GPT2}/model.safetensors",),
            ),
        ),
    ),
    _resnet(18, "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec", 46_830_571),
    _resnet(50, "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca", 102_540_417),
)

_SETS: dict[str, Dataset] = {
    each.name: each for each in (*_EMBEDDED, *_PICTURES, *_TEXTS, *_CHINESE, *_RECORDS, *_WEIGHTS)
}
