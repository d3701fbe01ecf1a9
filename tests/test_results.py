"""Reading results: intervals, tables, and clear errors for damaged files."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recipes import small_recipe

from xor2gpt import machine, recipes, results
from xor2gpt.recipes import runner
from xor2gpt.recipes.base import Column


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The folder of a small recipe that has been run, registered for this test only."""
    recipe = small_recipe()
    monkeypatch.setitem(recipes.base._REGISTRY, "small", recipe)
    runner.run(recipe, tmp_path, quiet=True)
    return tmp_path


# --- statistics -----------------------------------------------------------------------------------


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_wilson_matches_its_formula(counts):
    hits, trials = counts
    low, high = results.wilson(hits, trials)
    rate, z = hits / trials, 1.959963984540054
    middle = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    assert (low, high) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-9)
    assert 0 <= low <= rate <= high <= 1
    mirrored = results.wilson(trials - hits, trials)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("hits", "trials"), [(3, 2), (-1, 2), (0, 0)])
def test_wilson_refuses_what_is_no_rate(hits, trials):
    with pytest.raises(ValueError, match="is no rate"):
        results.wilson(hits, trials)


def test_mean_sd():
    assert results.mean_sd([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, np.std([1, 2, 4], ddof=1)))
    mean, sd = results.mean_sd([3.0])
    assert mean == 3.0 and np.isnan(sd)
    with pytest.raises(ValueError, match="no values"):
        results.mean_sd([])


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (Column("", "m", "mean", 100, 1), [0.9, 1.0], "95.0 ± 7.1"),
        (Column("", "m", "mean"), [0.0302, 0.0488], "0.040 ± 0.013"),
        (Column("", "m", "mean"), [0.5, 0.5], "0.500 ± 0.000"),
        (Column("", "m", "mean"), [0.25], "0.250"),
        (Column("", "m", "rate"), [1, 1, 1, 0], "75.0 % (30.1–95.4)"),
        (Column("", "m", "median"), [1e-5, 2e-5, 9.0], "2.00e-05"),
        (Column("", "m", "max"), [1.0, float("inf")], "inf"),
        (Column("", "m", "min", 100, 0), [0.25, 0.5], "25"),
        (Column("", "other", "mean"), [1.0], "–"),
    ],
)
def test_cell(stored, column, values, expected):
    result = next(iter(results.load("small", stored).values()))
    result = dataclasses.replace(result, per_seed={"m": values})
    assert results.cell(column, result) == expected


def test_tables(stored):
    (table,) = results.tables("small", stored)
    assert table.columns == ["configuration", "seeds", "v"]
    assert [row[:2] for row in table.rows] == [(f"unit {i}", "5") for i in range(4)]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "cores" in table.machine and "torch" in table.versions and table.note == ""
    assert len(table.date) == 10


def test_tables_say_what_is_missing(stored):
    (stored / "small" / "u2.json").unlink()
    (table,) = results.tables("small", stored)
    assert len(table.rows) == 3 and table.note == "Not run yet: u2."


def test_tables_of_an_empty_folder(tmp_path):
    assert results.tables(out=tmp_path) == []


def test_results_of_another_version_are_left_out(stored, monkeypatch):
    monkeypatch.setitem(recipes.base._REGISTRY, "small", small_recipe(version=2))
    assert results.load("small", stored) == {}


def test_every_committed_table_is_whole():
    tables = results.tables()
    assert {table.recipe for table in tables} >= {"xor-seeds", "iris-splits"}
    for table in tables:
        assert not table.note, table.title
        assert all(cell for row in table.rows for cell in row)


# --- damaged files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "u1.json is cut off or damaged"),
        (lambda text: "", "cut off or damaged"),
        (lambda text: "[1, 2]", "no result file"),
        (lambda text: text.replace('"schema": 1', '"schema": 99'), "schema 99.*reads 1"),
        (lambda text: text.replace('"kind": "unit"', '"kind": "summary"'), "not a 'unit'"),
        (lambda text: text.replace('"per_seed"', '"per_sed"'), "no field 'per_seed'"),
        (lambda text: text.replace('"title"', '"tite"'), "no field 'unit.title'"),
        (lambda text: text.replace("[5, 6, 7, 8, 9]", "[5, 6]"), "5 values for 2 seeds"),
    ],
)
def test_damaged_files_are_named(stored, damage, message):
    path = stored / "small" / "u1.json"
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    with pytest.raises(results.DamagedResult, match=message) as error:
        results.tables("small", stored)
    assert "u1.json" in str(error.value) and "delete it" in str(error.value)


def test_binary_rubbish_is_named(stored):
    (stored / "small" / "u1.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(results.DamagedResult, match="is not text"):
        results.load("small", stored)


def test_summary_is_a_function_of_the_unit_files(stored):
    before = json.loads((stored / "small" / "summary.json").read_text())
    (stored / "small" / "summary.json").unlink()
    runner.run(small_recipe(), stored, quiet=True)
    assert json.loads((stored / "small" / "summary.json").read_text()) == before


BENCHMARK = {
    "schema": 1,
    "kind": "benchmark",
    "benchmark": {"name": "grading", "part": "03_x", "description": "what was measured"},
    "figures": [
        {"name": "cpu_ratio.03_x", "value": 0.107, "unit": "1"},
        {"name": "memory.03_x", "value": 21.01, "unit": "MB"},
    ],
    "measured": {},
    "seconds": {"wall": 2.0, "cpu": 1.5},
    "machine": machine.describe_machine(),
    "versions": {"python": "3.11.7"},
    "date": "2026-11-22T19:58:25Z",
}


def test_a_benchmarks_figures_become_a_table(tmp_path):
    (tmp_path / "grading").mkdir()
    (tmp_path / "grading" / "03_x.json").write_text(json.dumps(BENCHMARK))
    [table] = results.tables(out=tmp_path)
    assert table.title == "Benchmark grading: 03_x"
    assert table.rows == [("cpu_ratio", "0.107", "–"), ("memory", "21.0", "MB")]
    assert (table.date, table.cpu_seconds) == ("2026-11-22", 1.5)


def test_a_damaged_benchmark_is_named(tmp_path):
    (tmp_path / "grading").mkdir()
    broken = {key: value for key, value in BENCHMARK.items() if key != "machine"}
    (tmp_path / "grading" / "03_x.json").write_text(json.dumps(broken))
    with pytest.raises(results.DamagedResult, match=r"03_x\.json"):
        results.tables(out=tmp_path)
