"""Generated pictures: bytes, factors, geometry, and what can not be read from colour."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from xor2gpt.data.sets import Pictures, Split
from xor2gpt.data.synthetic import pictures
from xor2gpt.data.synthetic.pictures import (
    EASY,
    HARD,
    SHAPES,
    STANDARD,
    TARGET_SHAPES,
    TEXTURES,
    Nuisances,
    draw,
    shapes,
    two_domains,
)


def digest(*arrays: np.ndarray) -> str:
    sums = hashlib.sha256()
    for array in arrays:
        sums.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return sums.hexdigest()


SHAPES_SHA256 = "4c6705024ae1b72026af99f89bfede9b8a0602d25dae32be336240c20eed5dfc"
FACTORS_SHA256 = "fbb02e258ea59d2e8f79d7bdd8bc408fd632fd57913f2f93f71d68958ff355bc"
HARD_SHA256 = "a71ab053396e075906bef57904c46c337ab6a6185b2e51dbd12b45aa41780f57"
DOMAINS_SHA256 = "4e2f805902379103feb65df1c664c3c35637f38be4af2a5473ad6f30a2d98d2c"


@pytest.fixture(scope="module")
def many() -> pictures.Drawn:
    return shapes(3000, seed=5)


def test_bytes_are_pinned():
    drawn = shapes(600, seed=0)
    assert digest(drawn.images, drawn.labels) == SHAPES_SHA256
    assert digest(*(drawn.factors[name] for name in sorted(drawn.factors))) == FACTORS_SHA256
    assert digest(shapes(300, seed=1, nuisances=HARD).images) == HARD_SHA256
    both = two_domains(100, 3, 100)
    parts = (both.source.train, both.source.test, both.target.train, both.target.test)
    assert digest(*(part.images for part in parts)) == DOMAINS_SHA256


def test_arrays_have_cifars_shape(many):
    assert isinstance(many, Split)
    assert many.images.shape == (3000, 3, 32, 32) and many.images.dtype == np.uint8
    assert many.labels.shape == (3000,) and many.labels.dtype == np.int64
    assert np.bincount(many.labels).tolist() == [300] * 10
    assert len(SHAPES) == 10 and len(TARGET_SHAPES) == 20
    assert not set(SHAPES) & set(TARGET_SHAPES)
    for values in many.factors.values():
        assert values.shape == (3000,) and values.dtype == np.int64


def test_seeds():
    assert np.array_equal(shapes(50, seed=3).images, shapes(50, seed=3).images)
    assert not np.array_equal(shapes(50, seed=3).images, shapes(50, seed=4).images)
    assert len(shapes(0, seed=0)) == 0


def test_factors_stay_in_their_ranges_and_fill_them(many):
    f = many.factors
    assert np.array_equal(f["shape"], many.labels)
    for name, (low, high) in {"radius": STANDARD.radius, "brightness": STANDARD.brightness}.items():
        assert (f[name].min(), f[name].max()) == (low, high)
    assert set(f["texture"]) == set(f["background_texture"]) == set(range(len(TEXTURES)))
    assert set(f["colour"]) == set(f["background"]) == set(range(len(many.colours)))
    assert not (f["colour"] == f["background"]).any()
    for name in ("row", "column"):
        assert np.abs(f[name] - 64).max() == STANDARD.shift
    share = (f["bar"] > 0).mean()
    assert share == pytest.approx(STANDARD.occluded / 16, abs=0.02)
    assert f["covered"].min() >= 0 and f["covered"].max() <= 1000
    assert f["covered"][f["bar"] > 0].mean() > f["covered"][f["bar"] == 0].mean() + 50


@pytest.mark.parametrize(
    "name", ["colour", "background", "texture", "background_texture", "turn", "radius", "mirrored"]
)
def test_factors_are_independent_of_the_class(many, name):
    """Pearson's chi-squared of class against factor: its mean is the degrees of freedom."""
    values = np.unique(many.factors[name], return_inverse=True)[1]
    table = np.zeros((10, values.max() + 1))
    np.add.at(table, (many.labels, values), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    chi2 = ((table - expected) ** 2 / expected).sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    assert chi2 < freedom + 4 * np.sqrt(2 * freedom)


def test_the_class_is_not_readable_from_colour(many):
    mean = many.images.mean((2, 3))
    spread = many.images.std((2, 3))
    features = np.concatenate([mean, spread], 1) / 255
    model = LogisticRegression(max_iter=300).fit(features[:2000], many.labels[:2000])
    assert model.score(features[2000:], many.labels[2000:]) < 0.2  # chance: 0.1


def test_the_class_is_in_the_coverage():
    """Upright, in one size and place, no two shapes look the same."""
    still = Nuisances(radius=(44, 44), shift=0, turns=0, texture=(0, 0), occluded=0, noise=0)
    factors = pictures._draw_factors(np.random.default_rng(0), np.arange(10), still)
    masks = pictures._coverage(np.arange(10), factors | {"mirrored": np.zeros(10, np.int64)})
    distance = np.abs(masks[:, None] - masks[None]).mean((2, 3))
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 8  # of 256; a disc and a hexagon are nearest


# --- geometry -------------------------------------------------------------------------------------


def factors_of(n: int, **changed: int) -> dict[str, np.ndarray]:
    base = {"radius": 40, "row": 64, "column": 64, "turn": 0, "mirrored": 0}
    return {name: np.full(n, value, np.int64) for name, value in (base | changed).items()}


ALL = np.arange(30)


def test_a_disc_has_a_discs_area_and_a_square_a_squares():
    masks = pictures._coverage(np.array([0, 1]), factors_of(2))
    disc, square = masks.sum((1, 2)) / 256
    assert disc == pytest.approx(np.pi * (10 * 60 / 64) ** 2, rel=0.02)
    assert square == pytest.approx((20 * 50 / 64) ** 2, rel=0.06)


@pytest.mark.parametrize(("rows", "columns"), [(3, 0), (0, -4), (2, 2)])
def test_moving_whole_pixels_moves_the_picture(rows, columns):
    here = pictures._coverage(ALL, factors_of(30, radius=32))
    there = pictures._coverage(ALL, factors_of(30, radius=32, row=64 + 4 * rows,
                                               column=64 + 4 * columns))  # fmt: skip
    assert np.array_equal(np.roll(here, (rows, columns), (1, 2)), there)


def test_a_quarter_turn_and_a_mirror_image():
    plain = pictures._coverage(ALL, factors_of(30))
    turned = pictures._coverage(ALL, factors_of(30, turn=16))
    mirrored = pictures._coverage(ALL, factors_of(30, mirrored=1))
    # The stencil's cells are even in number: a mirrored sample may fall into the next cell.
    assert (
        min(np.abs(np.rot90(plain, k, (1, 2)) - turned).mean() for k in (1, 3))
        < 0.03 * plain.mean() + 3
    )
    assert np.abs(plain[:, :, ::-1] - mirrored).mean() < 0.03 * plain.mean() + 3
    arrow = SHAPES.index("arrow")
    assert np.abs(plain[arrow] - mirrored[arrow]).mean() > 10  # and it is not the same picture


def test_sines_are_the_rounded_sines():
    angles = np.arange(64) * 2 * np.pi / 64
    assert np.array_equal(pictures.SINE, np.round(1024 * np.sin(angles)).astype(int))
    assert np.array_equal(pictures.COSINE, np.round(1024 * np.cos(angles)).astype(int))


def test_polygons_by_hand():
    box = pictures._polygon((-50, -50), (50, -50), (50, 50), (-50, 50))
    assert np.array_equal(box, pictures._box(-50, -50, 50, 50))
    backwards = pictures._polygon((-50, 50), (50, 50), (50, -50), (-50, -50))
    assert np.array_equal(box, backwards)


@settings(max_examples=20, deadline=None)
@given(labels=st.lists(st.integers(0, 29), min_size=1, max_size=6), seed=st.integers(0, 2**40))
def test_any_labels_can_be_drawn(labels, seed):
    drawn = draw(labels, seed=seed, classes=SHAPES + TARGET_SHAPES)
    assert drawn.labels.tolist() == labels
    assert drawn.images.shape == (len(labels), 3, 32, 32)


def test_easy_is_easier_than_hard():
    easy, hard = (shapes(300, seed=0, nuisances=n).factors["covered"].mean() for n in (EASY, HARD))
    assert easy < 5 < 50 < hard


# --- two domains ----------------------------------------------------------------------------------


def test_two_domains_share_no_class_and_no_colour():
    both = two_domains(40, 5, 60, seed=2)
    assert isinstance(both.source, Pictures) and isinstance(both.target, Pictures)
    assert both.source.classes == SHAPES and both.target.classes == TARGET_SHAPES
    assert np.bincount(both.target.train.labels).tolist() == [5] * 20
    assert len(both.source.train) == 40 and len(both.target.test) == 60
    assert not set(both.source.train.colours) & set(both.target.train.colours)


def test_fewer_labels_are_a_prefix_of_more():
    few, more = (two_domains(10, k, 10, seed=1).target for k in (4, 30))
    assert np.array_equal(few.train.images, more.train.images[:80])
    assert np.array_equal(few.train.labels, more.train.labels[:80])
    assert np.array_equal(few.test.images, more.test.images)
    assert len(two_domains(10, 0, 10).target.train) == 0


def test_parts_are_different_pictures():
    found = pictures.shapes_set(200, 200)
    assert not np.array_equal(found.train.images, found.test.images)
    assert found.classes == SHAPES and found.name == "shapes"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shapes(-1, seed=0), "number of pictures"),
        (lambda: shapes(5, seed=0, classes=("disc", "blob")), "no such shape: blob"),
        (lambda: draw([0, 10], seed=0), "labels run from 0 to 10"),
        (lambda: draw([[0]], seed=0), "one number a picture"),
        (lambda: Nuisances(radius=(50, 40)), "range"),
        (lambda: Nuisances(radius=(2, 40)), "blots"),
        (lambda: Nuisances(occluded=17), "0 to 16"),
        (lambda: Nuisances(colours={"red": (255, 0, 0)}), "two different colours"),
        (lambda: two_domains(10, -1, 10), "per_class"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_figures_of_the_page_are_what_their_script_draws():
    script = Path(__file__).resolve().parents[1] / "book" / "figures" / "embedded_sets.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
