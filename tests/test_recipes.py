"""Recipes: the runner keeps what is finished through kills, and the committed results repeat."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt import recipes, results
from xor2gpt.recipes import files, iris_splits, runner, xor_seeds
from xor2gpt.recipes.base import Column, Figure, Outcome, Recipe, Table, Unit
from xor2gpt.recipes.scratch import open_scratch

TIMES = {"seconds", "date"}


def small_recipe(run_unit=None, *, version: int = 1, units: int = 4) -> Recipe:
    """A recipe with real arithmetic that takes no time; not registered."""

    def default(unit, advance):
        values = [float(np.random.default_rng(seed).normal()) for seed in unit.seeds]
        advance(len(unit.seeds))
        return Outcome({"value": values})

    return Recipe(
        name="small",
        title="Small",
        description="Means of random numbers.",
        version=version,
        units=tuple(
            Unit(f"u{i}", f"unit {i}", tuple(range(5 * i, 5 * i + 5)), {"shift": i})
            for i in range(units)
        ),
        run_unit=run_unit or default,
        figures=lambda found: [
            Figure(f"small.{r.unit}", float(np.mean(r.per_seed["value"])), "1") for r in found
        ],
        tables=(Table("All", "", tuple(f"u{i}" for i in range(units)), (Column("v", "value"),)),),
    )


def without_times(path: Path) -> dict:
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if key not in TIMES}


# --- the runner -----------------------------------------------------------------------------------


def test_run_writes_units_summary_and_figures(tmp_path):
    figures = runner.run(small_recipe(), tmp_path, quiet=True)
    names = sorted(path.name for path in (tmp_path / "small").iterdir())
    assert names == ["summary.json", "u0.json", "u1.json", "u2.json", "u3.json"]
    content = json.loads((tmp_path / "small" / "u1.json").read_text())
    assert content["unit"]["seeds"] == [5, 6, 7, 8, 9] and content["unit"]["hyper"] == {"shift": 1}
    assert content["versions"]["torch"] and content["machine"]["cpu"]
    assert set(content["seconds"]) == {"wall", "cpu"}
    assert figures[1].line().startswith("FIGURE small.u1 ")


def test_result_files_tell_no_host_user_or_path(tmp_path):
    runner.run(small_recipe(units=1), tmp_path, quiet=True)
    text = (tmp_path / "small" / "u0.json").read_text()
    assert os.uname().nodename not in text if hasattr(os, "uname") else True
    assert str(Path.home()) + os.sep not in text
    assert str(tmp_path) not in text and str(runner.COURSE_ROOT) not in text


def test_finished_units_are_not_run_again(tmp_path, capsys):
    runner.run(small_recipe(), tmp_path, quiet=True)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "small").glob("u*.json")}
    runner.run(small_recipe(), tmp_path)
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "small").glob("u*.json")}
    assert before == after
    assert "all 4 units are there (--fresh runs them again)" in capsys.readouterr().err


def test_fresh_runs_everything_again(tmp_path):
    ran = []

    def run_unit(unit, advance):
        ran.append(unit.name)
        return Outcome({"value": [0.0] * 5})

    recipe = small_recipe(run_unit)
    runner.run(recipe, tmp_path, quiet=True)
    runner.run(recipe, tmp_path, quiet=True, fresh=True)
    assert ran == ["u0", "u1", "u2", "u3"] * 2


def test_a_changed_recipe_is_not_mixed_with_old_results(tmp_path, capsys):
    runner.run(small_recipe(version=1, units=5), tmp_path, quiet=True)
    runner.run(small_recipe(version=2), tmp_path)
    told = capsys.readouterr().err
    assert "u0: not counted: another version of the recipe" in told and "4 to run" in told
    assert not (tmp_path / "small" / "u4.json").exists(), "a unit of the old version stayed"
    versions = {
        json.loads(path.read_text())["recipe"]["version"]
        for path in (tmp_path / "small").glob("u*.json")
    }
    assert versions == {2}


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "notes.json").write_text('{"mine": 1}')
    runner.run(small_recipe(), tmp_path, quiet=True, fresh=True)
    assert (tmp_path / "small" / "notes.json").exists()


@pytest.mark.parametrize("change", [{"seeds": (0,)}, {"hyper": {"shift": 9}}, {"name": "other"}])
def test_fingerprint_follows_settings_and_seeds(change):
    recipe = small_recipe()
    unit = recipe.units[0]
    assert recipe.fingerprint(unit) != recipe.fingerprint(dataclasses.replace(unit, **change))


def test_titles_do_not_change_the_fingerprint():
    recipe = small_recipe()
    unit = dataclasses.replace(recipe.units[0], title="another title", work=7)
    assert recipe.fingerprint(unit) == recipe.fingerprint(recipe.units[0])


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(tmp_path):
    def run_unit(unit, advance):
        if unit.name == "u2":
            raise KeyboardInterrupt
        return Outcome({"value": [1.0] * 5})

    with pytest.raises(runner.Stopped, match="2 of 4 units are kept; .*train small"):
        runner.run(small_recipe(run_unit), tmp_path, quiet=True)
    assert not (tmp_path / "small" / "summary.json").exists()
    assert sorted(runner.finished_units(small_recipe(), tmp_path / "small")) == ["u0", "u1"]


def test_a_wrong_number_of_values_is_refused(tmp_path):
    recipe = small_recipe(lambda unit, advance: Outcome({"value": [1.0]}))
    with pytest.raises(ValueError, match="'u0': metric 'value' has 1 values for 5 seeds"):
        runner.run(recipe, tmp_path, quiet=True)


def test_a_recipe_on_a_missing_device_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("xor2gpt.machine.usable_devices", lambda: ("cpu",))
    recipe = dataclasses.replace(small_recipe(), device="cuda")
    with pytest.raises(RuntimeError, match="device 'cuda' does not work here"):
        runner.run(recipe, tmp_path, quiet=True)


def test_threads_are_limited_and_restored():
    threads = torch.get_num_threads()
    with runner._limited_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


# --- kill -9 --------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import test_recipes
from xor2gpt.recipes import runner
from xor2gpt.recipes.base import Outcome
import numpy as np

def run_unit(unit, advance):
    values = []
    for seed in unit.seeds:
        time.sleep({pause})
        values.append(float(np.random.default_rng(seed).normal()))
        advance(1)
    return Outcome({{"value": values}})

runner.run(test_recipes.small_recipe(run_unit), __import__("pathlib").Path({out!r}), quiet=True)
"""


def script(out: Path, pause: float) -> list[str]:
    tests = str(Path(__file__).parent)
    return [sys.executable, "-c", SCRIPT.format(tests=tests, out=str(out), pause=pause)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_resume_after_kill_9_gives_the_same_summary(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    runner.run(small_recipe(), whole, quiet=True)

    process = subprocess.Popen(script(cut, 0.1))
    deadline = time.monotonic() + 120
    while not (cut / "small" / "u1.json").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = sorted(path.name for path in (cut / "small").glob("*.json"))
    assert "u1.json" in kept and "u3.json" not in kept and "summary.json" not in kept
    stamps = {name: (cut / "small" / name).stat().st_mtime_ns for name in kept}
    # what a kill in the middle of writing the third unit would leave
    half = (whole / "small" / "u2.json").read_text()[:200]
    leftover = cut / "small" / f".u2.json.{process.pid}.tmp"
    leftover.write_text(half)

    subprocess.run(script(cut, 0.0), check=True, timeout=120)
    assert {n: (cut / "small" / n).stat().st_mtime_ns for n in kept} == stamps, "kept units ran"
    assert not leftover.exists()
    for name in ("summary.json", "u0.json", "u1.json", "u2.json", "u3.json"):
        resumed, uninterrupted = (without_times(each / "small" / name) for each in (cut, whole))
        # the script defines its own, slower run_unit
        resumed.pop("source_sha256", None)
        uninterrupted.pop("source_sha256", None)
        assert resumed == uninterrupted, name


# --- checkpoints inside a unit --------------------------------------------------------------------


def steps_recipe(run_unit) -> Recipe:
    """Two units of two seeds that keep checkpoints; not registered."""
    return dataclasses.replace(
        small_recipe(run_unit),
        units=(Unit("a", "a", (0, 1), {}), Unit("b", "b", (2, 3), {})),
        tables=(),
        keeps_checkpoints=True,
    )


def counting_unit(unit, advance, scratch, *, log: Path, pause: float = 0.0, stop: int = -1):
    """30 multiplications a seed, the state saved after each; ``log`` gets a line for each."""
    values = []
    for seed in unit.seeds:
        state = scratch / f"{seed}.txt"
        step, value = json.loads(state.read_text()) if state.exists() else (0, 1.0 + seed)
        while step < 30:
            if step == stop:
                raise KeyboardInterrupt
            step, value = step + 1, 3.7 * (value / 8) * (1 - value / 8) * 8
            files.atomic_write(state, json.dumps([step, value]))
            with log.open("a") as lines:
                lines.write(f"{seed} {step}\n")
            time.sleep(pause)
        values.append(value)
        advance(1)
    return Outcome({"value": values})


KILLED = """
import functools, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_recipes as t
out = Path({out!r})
run_unit = functools.partial(t.counting_unit, log=out / "log.txt", pause={pause})
t.runner.run(t.steps_recipe(run_unit), out, quiet=True, scratch=out / "scratch")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_a_killed_unit_goes_on_inside_a_training(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()

    def program(out, pause):
        tests = str(Path(__file__).parent)
        return [sys.executable, "-c", KILLED.format(tests=tests, out=str(out), pause=pause)]

    def log(folder):
        path = folder / "log.txt"
        return path.read_text().splitlines() if path.exists() else []

    process = subprocess.Popen(program(cut, 0.02))
    deadline = time.monotonic() + 120
    while "1 5" not in log(cut):  # in the middle of the second seed of the first unit
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not list((cut / "small").glob("*.json")), "no unit was finished"
    subprocess.run(program(cut, 0.0), check=True, timeout=120)
    subprocess.run(program(whole, 0.0), check=True, timeout=120)
    for name in ("a.json", "b.json", "summary.json"):
        resumed, uninterrupted = (without_times(each / "small" / name) for each in (cut, whole))
        assert resumed == uninterrupted, name
    lines = log(cut)
    assert len(lines) - len(set(lines)) <= 1, "finished steps were run again"
    seconds = json.loads((cut / "small" / "a.json").read_text())["seconds"]
    assert seconds["starts"] == 2 and seconds["wall"] > 0.4, "the time before the kill is lost"
    assert not list((cut / "scratch" / "small").iterdir()), "a finished unit left its scratch"


def test_checkpoints_survive_ctrl_c_and_other_code_starts_anew(tmp_path):
    log = tmp_path / "log.txt"

    def stopped(unit, advance, scratch):
        return counting_unit(unit, advance, scratch, log=log, stop=4 if unit.name == "b" else -1)

    def run(run_unit):
        recipe = steps_recipe(run_unit)
        runner.run(recipe, tmp_path, quiet=True, scratch=tmp_path / "scratch")

    with pytest.raises(runner.Stopped, match="1 of 2 units are kept"):
        run(stopped)
    (kept,) = (tmp_path / "scratch" / "small").iterdir()
    owner = json.loads((kept / "owner.json").read_text())
    assert kept.name.startswith("b-") and (kept / "2.txt").exists()
    owner["made_by"]["source"] = "other code"
    (kept / "owner.json").write_text(json.dumps(owner))
    run(lambda unit, advance, scratch: counting_unit(unit, advance, scratch, log=log))
    assert log.read_text().splitlines().count("2 1") == 2, "another version's state was used"


def test_fresh_deletes_checkpoints(tmp_path):
    run_unit = lambda u, a, s: counting_unit(u, a, s, log=tmp_path / "log.txt", stop=9)  # noqa: E731
    recipe = steps_recipe(run_unit)
    for _ in range(2):
        with pytest.raises(runner.Stopped):
            runner.run(recipe, tmp_path, quiet=True, scratch=tmp_path / "s", fresh=True)
    assert (tmp_path / "log.txt").read_text().splitlines().count("0 1") == 2


def test_two_processes_never_share_a_scratch_folder(tmp_path):
    import psutil

    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        since = psutil.Process(sleeper.pid).create_time()
        owner = {"pid": sleeper.pid, "since": since, "made_by": {}}
        (tmp_path / "owner.json").write_text(json.dumps(owner))
        with pytest.raises(RuntimeError, match=f"process {sleeper.pid} is running this unit"):
            open_scratch(tmp_path, {})
    finally:
        sleeper.kill()
        sleeper.wait()
    assert open_scratch(tmp_path, {}), "what a dead process left is taken over"


def test_checkpoints_change_no_fingerprint():
    """The committed files of the older recipes stay valid."""
    found = {
        name: [recipes.get(name).fingerprint(unit) for unit in recipes.get(name).units[:1]]
        for name in ("xor-seeds", "iris-splits")
    }
    assert found == {"xor-seeds": ["526fddedbffa718f"], "iris-splits": ["da0b94b11ff29338"]}
    recipe = small_recipe()
    keeping = dataclasses.replace(recipe, keeps_checkpoints=True, threads=2)
    assert keeping.fingerprint(recipe.units[0]) == recipe.fingerprint(recipe.units[0])


@given(cut=st.integers(0, 4000))
@settings(max_examples=30, deadline=None)
def test_a_file_cut_anywhere_does_not_count(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    runner.run(small_recipe(units=1), folder, quiet=True)
    path = folder / "small" / "u0.json"
    text = path.read_text()
    path.write_text(text[: min(cut, len(text.rstrip()) - 1)])
    told = []
    assert runner.finished_units(small_recipe(units=1), folder / "small", told.append) == {}
    assert "delete it" in told[0]
    runner.run(small_recipe(units=1), folder, quiet=True)
    assert without_times(path) == {
        key: value for key, value in json.loads(text).items() if key not in TIMES
    }


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.atomic_write(path, "old")

    def no_space(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        files.atomic_write(path, "new")
    assert path.read_text() == "old"


def test_leftovers_of_running_processes_stay(tmp_path):
    mine = tmp_path / f".a.json.{os.getpid()}.tmp"
    mine.write_text("being written")
    files.remove_leftovers(tmp_path)
    assert mine.exists()


# --- the file format ------------------------------------------------------------------------------

numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(), st.booleans())


@given(st.lists(numbers, min_size=1, max_size=8), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_round_trip(tmp_path_factory, values, title):
    folder = tmp_path_factory.mktemp("round")
    unit = Unit("u", title, tuple(range(len(values))), {"note": title, "lr": 0.1})
    recipe = dataclasses.replace(
        small_recipe(units=1),
        units=(unit,),
        tables=(),
        run_unit=lambda u, a: Outcome({"m": values}),
    )
    setting = runner._Setting({"cpu": "x"}, {"python": "3"}, None, None, "unknown")
    content = runner._run_unit(recipe, unit, setting, lambda n: None, folder)
    files.atomic_write(folder / "u.json", files.to_text(content))
    assert json.loads(files.to_text(content)) == content
    result = files.read_unit(folder / "u.json")
    assert result.title == title and result.hyper == {"note": title, "lr": 0.1}
    for got, value in zip(result.per_seed["m"], values, strict=True):
        if isinstance(value, float):
            same = got == pytest.approx(value, rel=1e-7, abs=0) or (
                math.isnan(got) and math.isnan(value)
            )
            assert same
        else:
            assert got == value


def test_plain_takes_arrays_and_refuses_objects():
    assert files.plain({"a": np.array([1.5, np.inf]), "b": np.int64(3)}) == {
        "a": [1.5, "inf"],
        "b": 3,
    }
    with pytest.raises(TypeError, match="cannot hold a object"):
        files.plain(object())


# --- the registry ---------------------------------------------------------------------------------


def test_registry():
    assert {"xor-seeds", "iris-splits"} <= set(recipes.names())
    with pytest.raises(recipes.UnknownRecipe, match="'iris-split'.*Did you mean 'iris-splits'"):
        recipes.get("iris-split")
    with pytest.raises(ValueError, match="recipe 'xor-seeds' already"):
        recipes.register(xor_seeds.RECIPE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unit("a/b", "", (0,), {}), "no file name"),
        (lambda: Unit("summary", "", (0,), {}), "summary"),
        (lambda: Unit("a", "", (), {}), "no seeds"),
        (lambda: Figure("a b", 1.0, "%"), "without spaces"),
        (lambda: Figure("a", 1.0, ""), "without spaces"),
        (lambda: dataclasses.replace(small_recipe(), units=()), "needs units"),
        (lambda: dataclasses.replace(small_recipe(), units=small_recipe().units[:1]), "no unit"),
    ],
)
def test_mistakes_in_a_recipe_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_settings_of_a_unit_are_frozen():
    with pytest.raises(TypeError):
        xor_seeds.RECIPE.units[0].hyper["lr"] = 1.0


# --- xor-seeds ------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_xor_gradients_are_torchs(hidden, seed):
    net = xor_seeds.initial_networks(range(seed, seed + 3), hidden)
    net.b1 += np.random.default_rng(seed).normal(size=net.b1.shape)
    net.b2 += 0.3
    names = ("W1", "b1", "W2", "b2")
    twin = {name: torch.tensor(getattr(net, name), requires_grad=True) for name in names}
    X, Y = torch.tensor(xor_seeds.X), torch.tensor(xor_seeds.Y)
    a1 = torch.sigmoid(X @ twin["W1"] + twin["b1"])
    a2 = torch.sigmoid(a1 @ twin["W2"] + twin["b2"])
    (0.5 * (a2 - Y) ** 2).sum().backward()
    gradient, outputs = xor_seeds.gradients(net)
    assert np.allclose(outputs, a2.detach().numpy(), atol=1e-12)
    for name in names:
        assert np.allclose(getattr(gradient, name), twin[name].grad.numpy(), atol=1e-12), name


def test_networks_of_one_batch_do_not_touch_each_other():
    together = xor_seeds.initial_networks([0, 1, 2], 3)
    alone = xor_seeds.initial_networks([1], 3)
    xor_seeds.train(together, 0.5, 200)
    xor_seeds.train(alone, 0.5, 200)
    assert np.allclose(together.W1[1], alone.W1[0], atol=1e-12)


def test_equal_units_stay_equal():
    net = xor_seeds.initial_networks([0, 1], 4, "equal-units")
    xor_seeds.train(net, 0.5, 300)
    assert np.ptp(net.W1, axis=2).max() < 1e-12 and np.ptp(net.W2, axis=1).max() < 1e-12


def test_without_bias_the_biases_stay_zero():
    net = xor_seeds.initial_networks([0], 2)
    xor_seeds.train(net, 0.5, 50, bias=False)
    assert not net.b1.any() and not net.b2.any()


def test_recorded_errors_are_those_of_the_epoch():
    start = xor_seeds.initial_networks([4], 4)
    net = xor_seeds.initial_networks([4], 4)
    curve = xor_seeds.train(net, 1.0, 20, record=[0, 20])
    for mse, each in zip(curve[:, 0], (start, net), strict=True):
        assert mse == pytest.approx(((xor_seeds.predict(each) - xor_seeds.Y) ** 2).mean())


def test_unknown_start():
    with pytest.raises(ValueError, match="'zeros' is none of"):
        xor_seeds.initial_networks([0], 2, "zeros")


# --- iris-splits ----------------------------------------------------------------------------------


def test_split_is_stratified_and_standardised_on_the_training_part():
    X_train, X_test, y_train, y_test = iris_splits.split(7)
    assert X_train.shape == (120, 4) and X_test.shape == (30, 4)
    assert np.bincount(y_train).tolist() == [40] * 3 and np.bincount(y_test).tolist() == [10] * 3
    assert np.abs(X_train.mean(axis=0)).max() < 1e-12
    assert X_train.std(axis=0) == pytest.approx(np.ones(4))
    leaky = np.vstack(iris_splits.split(7, "all")[:2])
    assert np.abs(leaky.mean(axis=0)).max() < 1e-12


def test_best_label_accuracy_maps_clusters_to_classes():
    assert (
        iris_splits.best_label_accuracy(np.array([2, 2, 0, 0, 1]), np.array([0, 0, 1, 1, 2])) == 1
    )
    assert iris_splits.best_label_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1])) == 0.5


def test_fit_torch_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    X_train, _, y_train, _ = iris_splits.split(0)
    hyper = {**iris_splits._NETWORK, "hidden": 10, "epochs": 2}
    _, loss = iris_splits.fit_torch(X_train, y_train, 1, hyper)
    assert torch.equal(state, torch.get_rng_state())
    assert loss == iris_splits.fit_torch(X_train, y_train, 1, hyper)[1]


# --- the committed results are what the code gives ------------------------------------------------


@pytest.mark.parametrize("name", ["xor-seeds", "iris-splits"])
def test_committed_results_are_complete_and_consistent(name):
    recipe = recipes.get(name)
    found = results.load(name)
    assert list(found) == [unit.name for unit in recipe.units], (
        f"run `python -m xor2gpt train {name}` and commit its results"
    )
    summary = files.read_json(runner.results_folder() / name / "summary.json", "summary")
    figures = [dataclasses.asdict(figure) for figure in recipe.figures(list(found.values()))]
    assert summary["figures"] == files.plain(figures)


@pytest.mark.parametrize(
    ("name", "unit", "count", "metric", "tolerance"),
    [
        ("xor-seeds", "2-4-1", 5, "mse_final", 1e-6),
        ("xor-seeds", "2-2-1-no-bias", 5, "mse_final", 1e-6),
        ("iris-splits", "mlp-4-10-3", 2, "loss_train", 1e-3),
        ("iris-splits", "logistic-regression", 5, "accuracy", 1e-6),
        ("iris-splits", "kmeans-1", 5, "inertia", 1e-3),
        ("iris-splits", "choice-leak", 3, "leaky", 1e-6),
    ],
)
def test_committed_results_repeat(name, unit, count, metric, tolerance):
    """The first seeds again; float32 training may differ a little between processors."""
    recipe = recipes.get(name)
    few = dataclasses.replace(recipe.unit(unit), seeds=recipe.unit(unit).seeds[:count])
    with runner._limited_threads(1):
        again = recipe.run_unit(few, lambda n: None).per_seed[metric]
    stored = results.load(name)[unit].per_seed[metric][:count]
    assert again == pytest.approx(stored, abs=tolerance)
