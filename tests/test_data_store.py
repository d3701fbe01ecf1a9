"""Getting data: the order of sources, and everything that goes wrong on the way."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
from pathlib import Path

import data_kit as kit
import pytest

from xor2gpt import data
from xor2gpt.data import download, registry, store
from xor2gpt.data.registry import Archive, Variant

DATA = kit.noise(300_000)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty cache, no mirror, no waiting between tries."""
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("XOR2GPT_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0)
    return tmp_path / "cache"


def toy(site=None, *, content=DATA, urls=None, **more):
    """A set of one file, at the site's ``a.bin``."""
    addresses = urls if urls is not None else [site.url("a.bin")]
    return kit.dataset(kit.plain_file(content, "a.bin", *addresses), **more)


def left_over(place: Path) -> list[str]:
    """What lies in the cache besides finished files and locks."""
    return sorted(
        path.name
        for path in place.rglob("*")
        if path.is_file() and path.name not in (".lock", "a.bin", "b.bin", "c.bin")
    )


def assert_nothing_final(dataset, name="a.bin"):
    assert not (store.folder(dataset) / name).exists(), "a bad file got its final name"
    assert store.held(dataset) is None


# --- the plain way --------------------------------------------------------------------------------


def test_a_set_is_downloaded_once(place):
    with kit.serving({"a.bin": DATA}) as site:
        dataset = toy(site)
        assert store.held(dataset) is None
        for _ in range(2):
            variant = store.ensure(dataset)
            assert store.read(dataset, variant.files[0]) == DATA
        assert site.requests == [("a.bin", None)]
    assert left_over(place) == []


def test_cache_then_mirror_then_canonical(place, tmp_path, monkeypatch):
    mirror = kit.put(tmp_path / "mirror", {"toy/a.bin": DATA})
    with kit.serving({"a.bin": DATA}) as site:
        dataset = toy(site)
        monkeypatch.setenv("XOR2GPT_MIRROR", str(mirror))
        store.fetch(dataset)
        assert site.requests == [], "the mirror comes before the canonical address"
        shutil.rmtree(mirror)
        assert store.read(dataset, dataset.files[0]) == DATA
        store.ensure(dataset)
        assert site.requests == [], "the cache comes before everything"
        shutil.rmtree(place)
        mirror.mkdir()
        store.fetch(dataset)
        assert site.requests == [("a.bin", None)], "what the mirror lacks comes from the address"


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_mirror_as_folder(place, tmp_path, monkeypatch, form):
    packed, squeezed = kit.packed_file(DATA[:5000])
    files = {"toy/a.bin": DATA, "toy/b.bin.xz": squeezed}
    mirror = kit.put(tmp_path / "mir ror", files)
    monkeypatch.setenv("XOR2GPT_MIRROR", form.format(mirror))
    dataset = kit.dataset(kit.plain_file(DATA), packed)
    store.ensure(dataset)
    assert [store.read(dataset, file) for file in dataset.files] == [DATA, DATA[:5000]]
    assert left_over(place) == []
    assert (mirror / "toy/b.bin.xz").read_bytes() == squeezed, "the mirror stays as it is"


def test_mirror_as_address(place, monkeypatch):
    packed, squeezed = kit.packed_file(DATA[:5000])
    name = "唐诗 三百首.json"
    files = {"m/toy/a.bin": DATA, "m/toy/b.bin.xz": squeezed, f"m/toy/{name}": b"[]"}
    with kit.serving(files) as site:
        monkeypatch.setenv("XOR2GPT_MIRROR", site.url("m/"))
        dataset = kit.dataset(kit.plain_file(DATA), packed, kit.plain_file(b"[]", name))
        store.ensure(dataset)
        assert [store.read(dataset, f) for f in dataset.files] == [DATA, DATA[:5000], b"[]"]
        assert (store.folder(dataset) / name).exists()


def test_a_missing_mirror_folder_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(data.DataError, match="nowhere.*no folder.*unset it"):
        store.ensure(toy(urls=["http://127.0.0.1:9/a.bin"]))


@pytest.mark.parametrize("where", ["mirror folder", "mirror address", "canonical"])
@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_members_of_an_archive(place, tmp_path, monkeypatch, where, kind):
    members = {"x/a.bin": DATA[:4000], "x/b.bin": DATA[4000:9000]}
    others = {"x/readme": b"not wanted", "../../evil": b"never", "/etc/evil": b"never"}
    make = kit.zip_of if kind == "zip" else lambda m: kit.tar_of(m, f"w:{kind[4:]}")
    packed = make(others | members)
    with kit.serving({"t": packed, f"m/toy/toy.{kind}": packed}) as site:
        urls = [site.url("t")] if where == "canonical" else []
        dataset = kit.dataset(*kit.archived(members, packed, *urls, name=f"toy.{kind}"))
        if where == "mirror address":
            monkeypatch.setenv("XOR2GPT_MIRROR", site.url("m"))
        if where == "mirror folder":
            kit.put(tmp_path / "mirror", {f"toy/toy.{kind}": packed})
            monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
        store.ensure(dataset)
        assert len([path for path, _, status in site.log if status == 200]) <= 1
    assert [store.read(dataset, file) for file in dataset.files] == list(members.values())
    assert left_over(place) == [] and not list(tmp_path.rglob("*evil*"))


def test_a_second_form_of_a_set(place, monkeypatch, tmp_path):
    """Tiny ImageNet: parts on a mirror, else the whole from its source."""
    with kit.serving({"whole": DATA}) as site:
        parts = Variant("parts", (kit.plain_file(DATA[:100], "a.bin"),))
        whole = Variant("whole", (kit.plain_file(DATA, "b.bin", site.url("whole")),))
        dataset = kit.dataset(variants=(parts, whole))
        assert store.ensure(dataset) is whole
        assert store.ensure(dataset) is whole and len(site.requests) == 1
        shutil.rmtree(place)
        kit.put(tmp_path / "mirror", {"toy/a.bin": DATA[:100]})
        monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
        assert store.ensure(dataset) is parts and len(site.requests) == 1


# --- bad bytes ------------------------------------------------------------------------------------


def test_wrong_checksum_takes_the_next_address(place):
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    with kit.serving({"a.bin": wrong, "second": DATA}) as site:
        dataset = toy(urls=[site.url("a.bin"), site.url("second")])
        with pytest.warns(UserWarning, match="a.bin: the file's checksum"):
            store.ensure(dataset)
    assert store.read(dataset, dataset.files[0]) == DATA and left_over(place) == []


def test_wrong_checksum_everywhere(place):
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    with kit.serving({"a.bin": wrong}) as site, pytest.warns(UserWarning):
        dataset = toy(site)
        with pytest.raises(data.DataError) as caught:
            store.ensure(dataset)
    message = str(caught.value)
    assert "a.bin: the file's checksum is not sha256:" in message
    assert "XOR2GPT_MIRROR is not set" in message and "data fetch toy" in message
    assert_nothing_final(dataset)
    assert not any(path.stat().st_size for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["flipped", "truncated", "longer"])
def test_a_damaged_mirror_file_is_passed_over(place, tmp_path, monkeypatch, damage):
    packed, squeezed = kit.packed_file(DATA)
    bad = {"flipped": squeezed[:-1] + b"!", "truncated": squeezed[:-9], "longer": squeezed + b"!"}
    kit.put(tmp_path / "mirror", {"toy/b.bin.xz": bad[damage]})
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
    dataset = kit.dataset(packed)
    said = pytest.warns(UserWarning, match="b.bin.xz: the packed file is damaged")
    with said, pytest.raises(data.DataError, match="b.bin.xz"):
        store.ensure(dataset)
    assert_nothing_final(dataset, "b.bin")
    assert left_over(place) == []


def test_what_is_unpacked_is_verified_too(place, tmp_path, monkeypatch):
    """A mirror's packed file with the right checksum whose contents are not the set's."""
    packed, squeezed = kit.packed_file(DATA[:700])
    for wrong in (DATA[1:701], DATA[:699], DATA[:701]):
        other = kit.plain_file(wrong, "b.bin", packed=packed.packed, checksum=kit.md5(wrong))
        kit.put(tmp_path / "mirror", {"toy/b.bin.xz": squeezed})
        monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
        dataset = kit.dataset(other)
        with pytest.warns(UserWarning), pytest.raises(data.DataError):
            store.ensure(dataset)
        assert_nothing_final(dataset, "b.bin")
        assert left_over(place) == []


def test_members_are_verified_and_links_refused(place, tmp_path, monkeypatch):
    link = tarfile.TarInfo("x/a.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for packed in (
        kit.tar_of({"x/a.bin": DATA[:9] + b"!"}),
        kit.tar_of({"x/a.bin": DATA[:11]}),
        kit.tar_of({}, "w:gz", link),
        kit.tar_of({"y/a.bin": DATA[:10]}),
        kit.zip_of({"x/a.bin": DATA[:9]}),
        b"neither zip nor tar",
    ):
        dataset = kit.dataset(*kit.archived({"x/a.bin": DATA[:10]}, packed))
        kit.put(tmp_path / "mirror", {"toy/toy.tar.gz": packed})
        monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
        with pytest.warns(UserWarning), pytest.raises(data.DataError, match="toy.tar.gz"):
            store.ensure(dataset)
        assert_nothing_final(dataset)
        assert left_over(place) == []


def test_a_bad_archive_without_checksum_is_not_kept():
    """A page in place of the zip must not be found again by the next try."""
    good = kit.zip_of({"x/a.bin": DATA[:10]})
    with kit.serving({"t.zip": b"<html>please log in</html>"}) as site:
        archive = Archive((site.url("t.zip"),), "toy/t.zip")
        file = kit.plain_file(DATA[:10], archive=archive, member="x/a.bin")
        dataset = kit.dataset(file)
        with pytest.warns(UserWarning), pytest.raises(data.DataError, match="cannot be unpacked"):
            store.ensure(dataset)
        site.files["t.zip"] = good
        store.ensure(dataset)
    assert store.read(dataset, file) == DATA[:10]


def test_damage_in_the_cache_is_named_and_mended():
    with kit.serving({"a.bin": DATA}) as site:
        dataset = toy(site)
        path = store.fetch(dataset) / "a.bin"
        kit.flip(path, 12_345)
        with pytest.raises(data.DamagedFile, match="a.bin is damaged.*data fetch toy"):
            store.read(dataset, dataset.files[0])
        with pytest.raises(data.DamagedFile, match="a.bin is damaged"):
            store.check(dataset, dataset.files[0])
        with pytest.warns(UserWarning, match="damaged and is fetched again"):
            store.fetch(dataset)
        assert path.read_bytes() == DATA
        path.write_bytes(DATA[:-1])
        assert store.held(dataset) is None, "a cut file counts as missing"
        store.ensure(dataset)
        assert path.read_bytes() == DATA


# --- a bad line -----------------------------------------------------------------------------------


def test_a_dropped_connection_is_resumed(place):
    with kit.serving({"a.bin": DATA}, cut=[100_000, 50_000]) as site:
        dataset = toy(site)
        store.ensure(dataset)
        starts = [int(span[6:-1]) if span else 0 for _, span in site.requests]
        assert starts[0] == 0 and len(starts) == 3
        assert 100_000 - download.CHUNK < starts[1] <= 100_000
        assert 50_000 - download.CHUNK < starts[2] - starts[1] <= 50_000
    assert store.read(dataset, dataset.files[0]) == DATA and left_over(place) == []


@pytest.mark.parametrize(
    "habits",
    [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}],
    ids=["no Range", "no validator", "weak validator"],
)
def test_where_resuming_is_impossible_it_starts_again(habits):
    with kit.serving({"a.bin": DATA}, cut=[100_000], **habits) as site:
        dataset = toy(site)
        store.ensure(dataset)
        assert [status for *_, status in site.log] == [200, 200]
    assert store.read(dataset, dataset.files[0]) == DATA


def test_a_file_that_changed_in_between_starts_again():
    with kit.serving({"a.bin": kit.noise(len(DATA), 1)}, cut=[100_000]) as site:
        dataset = toy(site)
        with pytest.raises(data.DataError):
            site.statuses = []
            site.cut = [100_000, *[0] * download.ATTEMPTS]
            store.ensure(dataset)
        site.files["a.bin"], site.etag, site.cut = DATA, '"two"', []
        store.ensure(dataset)
        path, span, status = site.log[-1]
        assert span and status == 200, "If-Range guards the resume"
    assert store.read(dataset, dataset.files[0]) == DATA


@pytest.mark.parametrize("etag", ['"one"', '"two"'])
def test_halves_of_two_versions_cost_one_clean_restart(etag):
    """A server that does not honour If-Range sends the rest of another file."""
    with kit.serving({"a.bin": kit.noise(len(DATA), 1)}, guard=False) as site:
        dataset = toy(site)
        site.cut = [100_000, *[0] * download.ATTEMPTS]
        with pytest.raises(data.DataError):
            store.ensure(dataset)
        site.files["a.bin"], site.etag, site.cut = DATA, etag, []
        store.ensure(dataset)
        assert [status for *_, status in site.log[-2:]] == [206, 200]
    assert store.read(dataset, dataset.files[0]) == DATA


def test_a_truncated_file_is_never_accepted(place):
    """The server closes the line early, every time, without saying how long the file is."""
    with kit.serving({"a.bin": DATA[:-1000]}, length=False) as site:
        dataset = toy(site)
        with pytest.raises(data.DataError, match="after.*299,000"):
            store.ensure(dataset)
    assert_nothing_final(dataset)


def test_a_server_with_another_length_is_refused_at_once():
    with kit.serving({"a.bin": DATA[:-1000]}) as site:
        dataset = toy(site)
        with pytest.raises(data.DataError, match="offers 299,000 bytes where 300,000"):
            store.ensure(dataset)
        assert len(site.requests) == 1
    assert_nothing_final(dataset)


def test_a_body_without_end_is_cut(monkeypatch):
    with kit.serving({"a.bin": DATA + b"more"}, length=False) as site:
        dataset = toy(site)
        with pytest.raises(data.DataError, match="sends more than the 300,000 bytes"):
            store.ensure(dataset)
    assert_nothing_final(dataset)


def test_a_part_longer_than_the_file_is_dropped(place):
    with kit.serving({"a.bin": DATA}) as site:
        dataset = toy(site)
        staging = store.folder(dataset) / store.STAGING
        kit.put(staging, {"a.bin.part": DATA + b"more"})
        note = f'{{"url": "{site.url("a.bin")}", "validator": "\\"one\\""}}'
        (staging / "a.bin.part.json").write_text(note)
        store.ensure(dataset)
        assert [status for *_, status in site.log] == [416, 200]
    assert store.read(dataset, dataset.files[0]) == DATA


def test_a_busy_server_is_asked_again():
    with kit.serving({"a.bin": DATA}, statuses=[503, 429]) as site:
        store.ensure(toy(site))
        assert [status for *_, status in site.log] == [503, 429, 200]


def test_a_server_that_never_recovers():
    with kit.serving({"a.bin": DATA}, statuses=[503] * 50) as site:
        with pytest.raises(data.DataError, match=f"HTTP status 503 \\({download.ATTEMPTS} times"):
            store.ensure(toy(site))
        assert len(site.log) == download.ATTEMPTS


def test_no_such_file_is_not_asked_twice():
    with kit.serving({}) as site:
        with pytest.raises(data.DataError, match="HTTP status 404"):
            store.ensure(toy(site))
        assert len(site.log) == 1


def test_no_network(place):
    with socket.socket() as free:  # a port where nobody listens
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dataset = toy(urls=[f"http://127.0.0.1:{port}/a.bin", "http://no.such.host.invalid/a.bin"])
    with pytest.raises(data.DataError) as caught:
        store.ensure(dataset)
    message = str(caught.value)
    assert message.count("no connection") == 2
    assert "XOR2GPT_MIRROR" in message and "'toy/a.bin'" in message, "it says what to do"
    assert "REAL_DATA = False" in message
    assert_nothing_final(dataset)


def test_no_network_and_a_mirror_by_address(monkeypatch):
    monkeypatch.setenv("XOR2GPT_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(data.DataError, match="http://127.0.0.1:9/toy/a.bin: no connection"):
        store.ensure(toy(urls=[]))


# --- the disk -------------------------------------------------------------------------------------


class _Full:
    """A file that takes so many bytes and then says that the disk is full."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, piece):
        if len(piece) > self.room:
            self.file.write(piece[: self.room])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(piece)
        return self.file.write(piece)


def full_after(room):
    """An ``open`` whose files for writing are full after so many bytes."""

    def opener(path, mode="r", **_):
        return open(path, mode) if "r" in mode else _Full(open(path, mode), room)

    return opener


@pytest.mark.parametrize("source", ["canonical", "mirror"])
def test_disk_full(place, tmp_path, monkeypatch, source):
    module = download if source == "canonical" else store
    monkeypatch.setattr(module, "open", full_after(1000), raising=False)
    with kit.serving({"a.bin": DATA}) as site:
        dataset = toy(site)
        if source == "mirror":
            kit.put(tmp_path / "mirror", {"toy/a.bin": DATA})
            monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
        with pytest.raises(data.DiskFull, match="no space is left.*XOR2GPT_DATA"):
            store.ensure(dataset)
        assert_nothing_final(dataset)
        assert not any(path.stat().st_size for path in place.rglob("*") if path.is_file())
        monkeypatch.delattr(module, "open")
        store.ensure(dataset)
        assert store.read(dataset, dataset.files[0]) == DATA


def test_too_little_space_is_said_before_the_download(monkeypatch):
    with kit.serving({"a.bin": DATA}) as site:
        usage = shutil._ntuple_diskusage(10**6, 10**6 - 100, 100)
        monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(data.DiskFull, match="needs 0 MiB.*free some, or set XOR2GPT_DATA"):
            store.ensure(toy(site))
        assert site.log == []


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path / "file"))
    with pytest.raises(data.DataError, match="cannot be written.*XOR2GPT_DATA"):
        store.ensure(toy(urls=["http://127.0.0.1:9/a.bin"]))


def test_default_cache_follows_the_platform(tmp_path, monkeypatch):
    monkeypatch.delenv("XOR2GPT_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    root = store.cache_root()
    assert root.name == "data" and root.is_absolute()
    if sys.platform == "linux":
        assert root == tmp_path / "xdg" / "xor2gpt" / "data"


# --- several processes, and kills -----------------------------------------------------------------

CHILD = """
    import sys
    sys.path.insert(0, {tests!r})
    import data_kit as kit
    from xor2gpt.data import store
    content = kit.noise(300_000)
    dataset = kit.dataset(kit.plain_file(content, "a.bin", {url!r}))
    variant = store.ensure(dataset)
    assert store.read(dataset, variant.files[0]) == content
    print("whole")
"""


def start_child(url: str) -> subprocess.Popen:
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parent), url=url)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_download_once():
    with kit.serving({"a.bin": DATA}, wait=0.5) as site:
        children = [start_child(site.url("a.bin")) for _ in range(2)]
        outputs = [child.communicate(timeout=60)[0] for child in children]
        assert outputs == ["whole\n", "whole\n"]
        assert site.requests == [("a.bin", None)]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_kill_during_the_download_costs_only_the_rest(place):
    with kit.serving({"a.bin": DATA}, cut=[200_000], hold=threading.Event()) as site:
        dataset = toy(site)
        child = start_child(site.url("a.bin"))
        assert site.half_sent.wait(30)
        part = store.folder(dataset) / store.STAGING / "a.bin.part"
        for _ in range(500):  # what was sent is on its way into the part file
            if part.exists() and part.stat().st_size:
                break
            threading.Event().wait(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert_nothing_final(dataset)
        kept = part.stat().st_size
        assert 0 < kept <= 200_000
        store.ensure(dataset)
        assert site.requests[-1] == ("a.bin", f"bytes={kept}-")
    assert store.read(dataset, dataset.files[0]) == DATA and left_over(place) == []


def test_a_lock_that_is_never_freed_is_said(monkeypatch):
    import filelock

    monkeypatch.setattr(store, "LOCK_SECONDS", 0.05)
    dataset = toy(urls=[])
    store.folder(dataset).mkdir(parents=True)
    held = filelock.FileLock(store.folder(dataset) / ".lock")
    with held, pytest.raises(data.DataError, match="another process"):
        store.ensure(dataset)


# --- verify ---------------------------------------------------------------------------------------


@pytest.fixture
def everywhere(tmp_path, monkeypatch):
    """A set with every kind of file, in the cache and in a mirror folder."""
    packed, squeezed = kit.packed_file(DATA[:3000])
    members = {"x/c.bin": DATA[:2000]}
    tar = kit.tar_of(members)
    (member,) = kit.archived(members, tar)
    dataset = kit.dataset(kit.plain_file(DATA), packed, member)
    files = {"toy/a.bin": DATA, "toy/b.bin.xz": squeezed, "toy/toy.tar.gz": tar}
    kit.put(tmp_path / "mirror", files)
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
    store.ensure(dataset)
    return dataset


def test_verify_finds_a_whole_set_whole(everywhere):
    found = store.verify(everywhere)
    assert [(row.place, row.file, row.status) for row in found] == [
        *(("cache", name, "whole") for name in ("a.bin", "b.bin", "c.bin")),
        *(("mirror", f"toy/{n}", "whole") for n in ("a.bin", "b.bin.xz", "toy.tar.gz")),
    ]


@pytest.mark.parametrize("damage", ["first bit", "middle bit", "last bit", "cut", "gone"])
def test_verify_finds_and_names_any_damage(everywhere, damage):
    for index, row in enumerate(store.verify(everywhere)):
        path = Path(row.path)
        original = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(original[:-1])
        else:
            kit.flip(
                path, {"first": 0, "middle": len(original) // 2, "last": -1}[damage.split()[0]]
            )
        found = store.verify(everywhere)
        wrong = [each for each in found if each.status != "whole"]
        assert [each.place for each in wrong] == [row.place]
        assert wrong[0].status == ("missing" if damage == "gone" else "damaged")
        if damage != "gone":
            assert wrong == [type(row)(**{**vars(row), "status": "damaged"})], index
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(original)


def test_verify_of_what_is_nowhere(tmp_path, monkeypatch):
    assert store.verify(toy(urls=["http://127.0.0.1:9/a.bin"])) == []
    monkeypatch.setenv("XOR2GPT_MIRROR", "http://127.0.0.1:9")
    assert store.verify(toy(urls=[])) == [], "a mirror by address is verified when fetching"
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path))
    assert store.verify(toy(urls=[])) == []


def test_fetch_and_where_by_name(monkeypatch, place):
    with kit.serving({"a.bin": DATA}) as site:
        monkeypatch.setitem(registry._SETS, "toy", toy(site))
        assert data.where("toy") == place / "toy" / "1"
        assert not place.exists(), "asking creates nothing"
        assert data.fetch("toy", progress=False) == place / "toy" / "1"
        assert [row.status for row in data.verify("toy")] == ["whole"]
    assert data.where("iris") is None and data.fetch("iris") is None and data.verify("iris") == []


def test_progress_goes_to_stderr_only_when_wanted(capfd):
    with kit.serving({"a.bin": DATA}) as site:
        store.ensure(toy(site), progress=False)
        assert capfd.readouterr() == ("", "")
        shutil.rmtree(store.cache_root())
        store.ensure(toy(site), progress=True)
        out, err = capfd.readouterr()
        assert out == "" and "a.bin" in err and "300k/300k" in err
