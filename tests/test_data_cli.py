"""``python -m xor2gpt data list | fetch | verify | where``."""

from __future__ import annotations

import json
from pathlib import Path

import data_kit as kit
import pytest
from typer.testing import CliRunner

from xor2gpt import data
from xor2gpt.cli import app
from xor2gpt.data import registry

cli = CliRunner()
DATA = kit.noise(5000)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A cache, a mirror with one small set, and no other set with files."""
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path / "mirror"))
    packed, squeezed = kit.packed_file(DATA)
    kit.put(tmp_path / "mirror", {"toy/a.bin": DATA, "toy/b.bin.xz": squeezed})
    toy = kit.dataset(kit.plain_file(DATA), packed)
    other = kit.dataset(kit.plain_file(DATA[:9], mirror="no/where"), name="elsewhere")
    sets = {name: data.info(name) for name in ("iris", "grammar")}
    monkeypatch.setattr(registry, "_SETS", sets | {"toy": toy, "elsewhere": other})
    return tmp_path


def run(*arguments: str):
    return cli.invoke(app, ["data", *arguments])


def test_without_a_command_it_shows_the_help():
    shown = cli.invoke(app, ["data"]).output
    assert all(command in shown for command in ("list", "fetch", "verify", "where"))
    assert "XOR2GPT_MIRROR" in shown


def test_list():
    shown = run("list")
    assert shown.exit_code == 0 and "4 sets" in shown.stdout
    assert "embedded" in shown.stdout and "cached" not in shown.stdout
    run("fetch", "toy")
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["name"], row["here"]) for row in rows] == [
        ("iris", "embedded"),
        ("grammar", "embedded"),
        ("toy", "cached"),
        ("elsewhere", ""),
    ]
    assert rows[2]["variants"][0]["files"][0]["checksum"] == kit.sha256(DATA)


def test_fetch(places):
    done = run("fetch", "toy", "iris", "--quiet")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"toy: {places / 'cache/toy/1'}\niris: embedded, nothing to fetch\n"
    assert (places / "cache/toy/1/b.bin").read_bytes() == DATA


def test_fetch_goes_on_after_a_failure():
    done = run("fetch", "elsewhere", "toy")
    assert done.exit_code == 1
    assert "'elsewhere' is not in the cache" in done.stderr and "What to do" in done.stderr
    assert done.stdout.startswith("toy: ")
    assert run("fetch", "--all").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["fetch"], "which set?"), (["fetch", "toi"], "did you mean toy"), (["verify", "toi"], "toy")],
)
def test_wrong_command_lines(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2 and message in done.stderr


def test_verify_whole_and_absent():
    done = run("verify")
    assert done.exit_code == 0
    assert done.stdout == "toy: whole in the mirror, 2 files\nelsewhere: not here\n"
    run("fetch", "toy")
    done = run("verify", "toy", "iris")
    assert done.exit_code == 0 and "toy: whole in the cache, 2 files" in done.stdout
    assert "iris: embedded" in done.stdout
    assert run("verify", "elsewhere").exit_code == 1, "named, and in neither place"


@pytest.mark.parametrize("file", ["cache/toy/1/a.bin", "mirror/toy/b.bin.xz"])
def test_verify_names_a_flipped_byte(places, file):
    run("fetch", "toy")
    kit.flip(places / file, 77)
    done = run("verify")
    place = file.split("/")[0]
    assert done.exit_code == 1
    assert f"toy: damaged in the {place}: {places / file}" in done.stdout
    assert "data fetch NAME" in done.stderr
    assert f"whole in the {'mirror' if place == 'cache' else 'cache'}" in done.stdout
    if place == "cache":
        with pytest.warns(UserWarning):
            assert run("fetch", "toy").exit_code == 0
        assert run("verify").exit_code == 0, "fetching mends the cache"


def test_verify_with_a_mirror_that_is_gone(monkeypatch, places):
    monkeypatch.setenv("XOR2GPT_MIRROR", str(places / "gone"))
    done = run("verify")
    assert done.exit_code == 1 and "XOR2GPT_MIRROR" in done.stderr


def test_where(places, monkeypatch):
    assert run("where").stdout == f"cache: {places / 'cache'}\nmirror: {places / 'mirror'}\n"
    assert run("where", "toy").stdout == f"{places / 'cache/toy/1'}\n"
    assert "embedded" in run("where", "iris").stdout
    assert run("where", "toi").exit_code == 2
    monkeypatch.delenv("XOR2GPT_MIRROR")
    assert "XOR2GPT_MIRROR is not set" in run("where").stdout


def test_doctor_says_where_data_are(places, monkeypatch):
    from xor2gpt import doctor

    check = doctor.check_data()
    assert check.status == "ok"
    assert str(places / "cache") in check.found and str(places / "mirror") in check.found
    monkeypatch.setenv("XOR2GPT_MIRROR", str(places / "gone"))
    check = doctor.check_data()
    assert check.status == "warn" and "gone" in check.found and "unset it" in check.remedy
    monkeypatch.setenv("XOR2GPT_MIRROR", "https://example.org/data")
    assert doctor.check_data().status == "ok"
    monkeypatch.delenv("XOR2GPT_MIRROR")
    assert doctor.check_data().found.endswith("mirror: none")


def test_make_test_shows_the_mirror_to_the_test_suite_only(monkeypatch):
    from autograder.authoring import testing

    monkeypatch.setenv("XOR2GPT_MIRROR", "/mirror")
    seen = {part.name: testing.environment(part).get("XOR2GPT_MIRROR") for part in testing.parts(2)}
    assert seen.pop("tests") == "/mirror" and set(seen.values()) == {None}
    assert "notebooks (nbval)" in seen
    monkeypatch.setenv("XOR2GPT_DATA", "/data")
    folders = {part.name: testing.environment(part)["XOR2GPT_DATA"] for part in testing.parts(2)}
    assert folders.pop("tests") == "/data"
    assert all(Path(folder).name == "no-data" for folder in folders.values())
    monkeypatch.delenv("XOR2GPT_MIRROR")
    assert "XOR2GPT_MIRROR" not in testing.environment(testing.parts(2)[0])
