"""Augmentation against its definitions: slow loops, picture by picture, and laws."""

import colorsys
import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xor2gpt.training import TensorBatches
from xor2gpt.vision import augment as au

FEW = settings(max_examples=25, deadline=None)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 6, c: int = 3, h: int = 8, w: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, c, h, w, generator=generator(seed))


def numbered(n: int, h: int, w: int) -> torch.Tensor:
    """(n, 1, h, w): each picture holds 1, 2, 3, … so that a pixel says where it came from."""
    return torch.arange(1.0, h * w + 1).view(1, 1, h, w).repeat(n, 1, 1, 1)


sides = st.integers(3, 9)
seeds = st.integers(0, 2**31)


# --- crop -----------------------------------------------------------------------------------------


def padded(picture: torch.Tensor, padding: int, mode: str) -> np.ndarray:
    widths = [(0, 0), (padding, padding), (padding, padding)]
    kind = "reflect" if mode == "reflect" else "constant"
    return np.pad(picture.numpy(), widths, mode=kind)


@FEW
@given(h=sides, w=sides, padding=st.integers(0, 2), seed=seeds, data=st.data())
@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_a_crop_is_a_window_of_the_padded_picture(mode, h, w, padding, seed, data):
    size = (data.draw(st.integers(1, h + 2 * padding)), data.draw(st.integers(1, w + 2 * padding)))
    images = pictures(5, 2, h, w, seed)
    top = torch.randint(h + 2 * padding - size[0] + 1, (5,), generator=generator(seed))
    left = torch.randint(w + 2 * padding - size[1] + 1, (5,), generator=generator(seed + 1))
    out = au.crop(images, top, left, size=size, padding=padding, mode=mode)
    assert out.shape == (5, 2, *size)
    for image, t, l_, found in zip(images, top.tolist(), left.tolist(), out, strict=True):
        window = padded(image, padding, mode)[:, t : t + size[0], l_ : l_ + size[1]]
        assert np.array_equal(found.numpy(), window)


def test_random_crop_is_crop_at_the_generators_offsets():
    images = pictures(20)
    out = au.random_crop(generator(3), images, padding=2)
    draws = generator(3)
    top = torch.randint(5, (20,), generator=draws)
    left = torch.randint(5, (20,), generator=draws)
    assert torch.equal(out, au.crop(images, top, left, padding=2))


def test_random_crop_reaches_all_places_equally_and_each_picture_its_own():
    images = numbered(4000, 7, 7)
    out = au.random_crop(generator(), images, padding=2, mode="zero")
    middle = out[:, 0, 3, 3].long() - 1  # where the window's centre lay
    rows, columns = middle // 7 - 3, middle % 7 - 3
    counts = torch.bincount((rows + 2) * 5 + columns + 2, minlength=25)
    assert len(counts) == 25
    expected = 4000 / 25
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 51.2, "24 degrees of freedom, one in a thousand is above 51.18"


def test_crop_in_the_middle_of_the_padding_is_the_picture_for_every_dtype():
    for dtype in (torch.uint8, torch.float32, torch.float64, torch.bfloat16):
        images = (255 * pictures()).to(dtype)
        for mode in ("reflect", "zero"):
            out = au.crop(images, 3, 3, padding=3, mode=mode)
            assert out.dtype == dtype and torch.equal(out, images)


def test_crop_of_bigger_pictures_and_of_channels_last():
    images = pictures(4, 3, 10, 12).to(memory_format=torch.channels_last)
    out = au.random_crop(generator(), images, padding=0, size=(6, 5))
    plain = au.random_crop(generator(), images.contiguous(), padding=0, size=(6, 5))
    assert out.shape == (4, 3, 6, 5) and torch.equal(out, plain)
    assert torch.equal(au.centre_crop(images, 8), images[:, :, 1:9, 2:10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: au.crop(x, 5, 0, padding=2), "a window of 8 at 5 … 5 leaves"),
        (lambda x: au.crop(x, 0, -1, padding=2), "a window of 8 at -1 … -1"),
        (lambda x: au.crop(x, 0, 0, padding=8), "padding=8 on a side of 8 pixels: use 0 to 7"),
        (lambda x: au.crop(x, 0, 0, mode="wrap"), "mode='wrap'"),
        (lambda x: au.crop(x, torch.zeros(2).long(), 0), r"\(2,\) values for 6 pictures"),
        (lambda x: au.crop(x, 0, 0, size=0), "at least 1"),
        (lambda x: au.random_crop(generator(), x, padding=9), "padding=9"),
        (lambda x: au.random_crop(generator(), x, padding=0, size=9), "does not fit"),
        (lambda x: au.random_crop(generator(), x[0]), r"try images\[None\]"),
        (lambda x: au.centre_crop(x, 9), r"no window of \(9, 9\)"),
    ],
)
def test_impossible_crops_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(pictures())


# --- flip -----------------------------------------------------------------------------------------


@FEW
@given(seed=seeds, w=sides)
def test_flip_by_definition_and_twice_is_nothing(seed, w):
    images = pictures(7, 2, 4, w, seed)
    coins = torch.rand(7, generator=generator(seed)) < 0.5
    out = au.flip(images, coins)
    for image, coin, found in zip(images, coins.tolist(), out, strict=True):
        assert np.array_equal(found.numpy(), image.numpy()[:, :, ::-1] if coin else image.numpy())
    assert torch.equal(au.flip(out, coins), images)


def test_random_flip_has_its_probability_for_each_picture():
    images = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2).repeat(4000, 1, 1, 1)
    for p in (0.0, 0.3, 1.0):
        flipped = float(
            (au.random_flip(generator(), images, probability=p)[:, 0, 0, 0] == 2).double().mean()
        )
        assert abs(flipped - p) <= 4 * math.sqrt(p * (1 - p) / 4000)
    with pytest.raises(ValueError, match="probability=1.5"):
        au.random_flip(generator(), images, probability=1.5)


def test_alternating_flip_shows_both_sides_in_any_two_epochs():
    images = pictures(40)
    coins = au.flip_coins(generator(1), 40)
    assert 5 < int(coins.sum()) < 35
    epochs = [au.alternating_flip(images, coins, epoch) for epoch in range(4)]
    for one, two in zip(epochs, epochs[1:], strict=False):
        assert torch.equal(one, two.flip(-1))
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[0], au.flip(images, coins))


# --- rotation and resizing ------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_rotation_by_quarter_turns(interpolation):
    images = pictures(4, 3, 7, 7)
    out = au.rotate(images, torch.tensor([0.0, 90.0, 180.0, -90.0]), interpolation=interpolation)
    for image, turns, found in zip(images, (0, 1, 2, 3), out, strict=True):
        assert torch.allclose(found, torch.rot90(image, turns, (-2, -1)), atol=2e-5)
    oblong = pictures(2, 3, 5, 9)
    assert torch.allclose(au.rotate(oblong, 0.0), oblong, atol=1e-6)
    assert torch.allclose(au.rotate(oblong, 180.0), oblong.flip(-1, -2), atol=2e-5)


def slow_rotate(picture: np.ndarray, degrees: float, fill: float) -> np.ndarray:
    """Bilinear, pixel by pixel: for each pixel of the result the place that it came from."""
    h, w = picture.shape
    out = np.empty((h, w))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for row in range(h):
        for column in range(w):
            x, y = column - (w - 1) / 2, (h - 1) / 2 - row  # y upwards
            x0, y0 = cos * x + sin * y, -sin * x + cos * y  # turned back
            c, r = x0 + (w - 1) / 2, (h - 1) / 2 - y0
            total = 0.0
            for i in (math.floor(r), math.floor(r) + 1):
                for j in (math.floor(c), math.floor(c) + 1):
                    weight = (1 - abs(r - i)) * (1 - abs(c - j))
                    inside = 0 <= i < h and 0 <= j < w
                    total += weight * (picture[i, j] if inside else fill)
            out[row, column] = total
    return out


@settings(max_examples=10, deadline=None)
@given(degrees=st.floats(-180, 180), h=sides, w=sides, fill=st.sampled_from([0.0, -1.0, 0.5]))
def test_rotation_by_definition(degrees, h, w, fill):
    images = pictures(1, 1, h, w).double()
    found = au.rotate(images, degrees, fill=fill)[0, 0]
    assert np.allclose(found, slow_rotate(images[0, 0].numpy(), degrees, fill), atol=1e-6)


def test_random_rotation_stays_in_bounds_and_differs_by_picture():
    images = pictures(1, 1, 9, 9).repeat(50, 1, 1, 1)
    out = au.random_rotation(generator(), images, degrees=10)
    angles = (2 * torch.rand(50, generator=generator()) - 1) * 10
    assert torch.allclose(out, au.rotate(images, angles), atol=1e-5)
    assert float(angles.abs().max()) <= 10 and float(angles.std()) > 4
    assert len({tuple(picture.flatten().tolist()) for picture in out}) == 50
    assert torch.allclose(au.random_rotation(generator(), images, degrees=0), images, atol=1e-6)
    with pytest.raises(ValueError, match="degrees=-1"):
        au.random_rotation(generator(), images, degrees=-1)
    with pytest.raises(TypeError, match="to_float"):
        au.rotate(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 5.0)


def test_a_resized_crop_of_whole_pixels_at_its_own_size_is_a_crop():
    images = pictures(3, 3, 9, 11)
    top, left = torch.tensor([0, 2, 4]), torch.tensor([5, 0, 3])
    out = au.resized_crop(images, top, left, 5, 6, size=(5, 6))
    assert torch.allclose(out, au.crop(images, top, left, size=(5, 6)), atol=1e-5)
    whole = au.resized_crop(images, 0, 0, 9, 11, size=(18, 22))
    twin = nn.functional.interpolate(images, scale_factor=2, mode="bilinear")
    assert torch.allclose(whole, twin, atol=1e-5)


def test_random_resized_crop_keeps_its_ranges():
    ramp = torch.linspace(0, 1, 64)
    images = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T])[None].repeat(200, 1, 1, 1)
    out = au.random_resized_crop(generator(), images, size=16, area=(0.25, 0.5), aspect=(0.5, 2.0))
    assert out.shape == (200, 2, 16, 16)
    # the ramps' slopes tell the part's width and height
    width = (out[:, 0, 8, 14] - out[:, 0, 8, 1]) * 63 / 13 * 16
    height = (out[:, 1, 14, 8] - out[:, 1, 1, 8]) * 63 / 13 * 16
    area, aspect = width * height / 64**2, width / height
    assert float(area.min()) > 0.25 * 0.98 and float(area.max()) < 0.5 * 1.02
    assert float(aspect.min()) > 0.5 * 0.98 and float(aspect.max()) < 2 * 1.02
    assert float(area.std()) > 0.05 and float(aspect.log().std()) > 0.3
    same = au.random_resized_crop(generator(), images, size=64, area=(1, 1), aspect=(1, 1))
    assert torch.allclose(same, images, atol=1e-5)
    with pytest.raises(ValueError, match=r"area=\(0, 1\)"):
        au.random_resized_crop(generator(), images, size=8, area=(0, 1))


def test_resize_of_flat_pictures_and_halves():
    images = pictures(2, 3, 8, 8)
    assert torch.allclose(au.resize(torch.full((1, 3, 5, 7), 0.3), (9, 4)), torch.tensor(0.3))
    assert au.resize(images, 4).shape == (2, 3, 4, 4)
    assert torch.allclose(au.resize(images, 8), images, atol=1e-6)


# --- colour ---------------------------------------------------------------------------------------


def slow_colour(picture: np.ndarray, kind: str, factor: float) -> np.ndarray:
    """One picture (3, H, W), pixel by pixel."""
    out = np.empty_like(picture)
    luma = [0.299, 0.587, 0.114]
    mean = float(np.tensordot(luma, picture, axes=1).mean())
    for row, column in np.ndindex(picture.shape[1:]):
        rgb = picture[:, row, column]
        if kind == "hue":
            h, s, v = colorsys.rgb_to_hsv(*rgb)
            out[:, row, column] = colorsys.hsv_to_rgb((h + factor) % 1.0, s, v)
        else:
            other = {"brightness": 0.0, "contrast": mean, "saturation": float(luma @ rgb)}[kind]
            out[:, row, column] = np.clip(factor * rgb + (1 - factor) * other, 0, 1)
    return out


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation", "hue"])
def test_colour_changes_by_definition(kind):
    images = pictures(4, 3, 3, 4).double()
    images[0, :, 0, 0] = 0.5  # a grey pixel has no hue
    images[0, :, 0, 1] = 0.0
    factors = torch.tensor([0.0, 0.4, 1.0, 1.7], dtype=torch.float64)
    factors = factors - 0.6 if kind == "hue" else factors
    out = getattr(au, f"adjust_{kind}")(images, factors)
    for image, factor, found in zip(images, factors.tolist(), out, strict=True):
        assert np.allclose(found, slow_colour(image.numpy(), kind, factor), atol=1e-9)


@FEW
@given(seed=seeds, strength=st.floats(0, 2), hue=st.floats(0, 0.5))
def test_jitter_keeps_the_range(seed, strength, hue):
    images = pictures(3, 3, 4, 4, seed)
    out = au.colour_jitter(
        generator(seed),
        images,
        brightness=strength,
        contrast=strength,
        saturation=strength,
        hue=hue,
    )
    assert out.shape == images.shape
    assert float(out.min()) >= -1e-6 and float(out.max()) <= 1 + 1e-6


def test_jitters_factors_are_bounded_and_each_picture_has_its_own():
    images = torch.full((500, 3, 2, 2), 0.5)
    out = au.colour_jitter(generator(), images, brightness=0.2, contrast=0, saturation=0)
    factors = out[:, 0, 0, 0] / 0.5
    assert 0.8 <= float(factors.min()) < 0.81 and 1.19 < float(factors.max()) <= 1.2
    assert abs(float(factors.mean()) - 1) < 4 * 0.4 / math.sqrt(12 * 500)
    assert len(factors.unique()) > 400
    nothing = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    assert torch.equal(au.colour_jitter(generator(), images, **nothing), images)


def test_jitter_of_grey_pictures_leaves_hue_and_saturation_out():
    images = pictures(5, 1)
    out = au.colour_jitter(generator(), images, brightness=0, contrast=0, saturation=0.9, hue=0.5)
    assert torch.equal(out, images)


@pytest.mark.parametrize(
    ("images", "settings", "error", "message"),
    [
        (au.normalise(pictures(), au.CIFAR10), {}, ValueError, "before normalising"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), {}, TypeError, "to_float"),
        (pictures(), {"hue": 0.6}, ValueError, "hue=0.6"),
        (pictures(), {"contrast": -0.1}, ValueError, "contrast=-0.1"),
        (pictures(2, 2), {}, ValueError, "1 or 3 channels, got 2"),
    ],
)
def test_jitter_errors(images, settings, error, message):
    with pytest.raises(error, match=message):
        au.colour_jitter(generator(), images, **settings)


# --- cutout ---------------------------------------------------------------------------------------


@FEW
@given(h=sides, w=sides, size=st.integers(0, 9), seed=seeds)
def test_cutout_by_definition(h, w, size, seed):
    images = pictures(6, 2, h, w, seed) + 1  # no pixel is 0
    before = images.clone()
    out = au.cutout(generator(seed), images, size=size)
    draws = generator(seed)
    tops = torch.randint(h, (6,), generator=draws) - size // 2
    lefts = torch.randint(w, (6,), generator=draws) - size // 2
    for image, top, left, found in zip(images, tops.tolist(), lefts.tolist(), out, strict=True):
        expected = image.numpy().copy()
        for row in range(max(top, 0), min(top + size, h)):
            for column in range(max(left, 0), min(left + size, w)):
                expected[:, row, column] = 0.0
        assert np.array_equal(found.numpy(), expected)
    assert torch.equal(images, before)


def test_cutouts_inside_have_their_full_area():
    images = torch.ones(300, 3, 8, 6)
    out = au.cutout(generator(), images, size=4, inside=True, fill=-1.0)
    assert bool(((out == -1).sum(dim=(1, 2, 3)) == 3 * 16).all())
    corners = {tuple(p[0].eq(-1).nonzero()[0].tolist()) for p in out}
    assert corners == {(r, c) for r in range(5) for c in range(3)}
    with pytest.raises(ValueError, match="a square of 7"):
        au.cutout(generator(), images, size=7, inside=True)


# --- normalising ----------------------------------------------------------------------------------


def test_statistics_by_definition_and_normalising_gives_0_and_1():
    images = (255 * pictures(50, 3, 5, 4)).to(torch.uint8)
    found = au.measure_statistics(images, chunk=7)
    values = images.numpy().astype(float) / 255
    assert np.allclose(found.mean, values.mean(axis=(0, 2, 3)))
    assert np.allclose(found.std, values.std(axis=(0, 2, 3)))
    out = au.normalise(images, found)
    assert torch.allclose(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    assert torch.allclose(au.denormalise(out, found), au.to_float(images), atol=1e-6)
    with pytest.raises(ValueError, match="no pictures"):
        au.measure_statistics(images[:0])


@pytest.mark.parametrize("known", [au.MNIST, au.CIFAR10, au.TINY_IMAGENET, au.IMAGENET])
def test_constants_are_plausible_and_have_a_source(known):
    assert len(known.mean) == len(known.std) in (1, 3) and known.source
    assert all(0.1 < m < 0.6 and 0.2 < s < 0.5 for m, s in zip(known.mean, known.std, strict=True))


def test_normalising_errors():
    with pytest.raises(ValueError, match="1 channels for pictures with 3"):
        au.normalise(pictures(), au.MNIST)
    with pytest.raises(ValueError, match="never changes"):
        au.normalise(pictures(1, 1), au.Statistics((0.5,), (0.0,)))
    with pytest.raises(TypeError, match="expected uint8"):
        au.to_float(torch.zeros(2, dtype=torch.int64))
    floats = pictures()
    assert au.to_float(floats) is floats


# --- all of them ----------------------------------------------------------------------------------

RANDOM = {
    "crop": partial(au.random_crop, padding=2),
    "crop-zero": partial(au.random_crop, padding=2, mode="zero"),
    "flip": au.random_flip,
    "rotation": au.random_rotation,
    "resized": partial(au.random_resized_crop, size=8),
    "jitter": partial(au.colour_jitter, hue=0.1),
    "cutout": partial(au.cutout, size=3),
}


@pytest.mark.parametrize("name", RANDOM)
def test_each_is_seeded_leaves_its_argument_and_draws_for_each_picture(name):
    step = RANDOM[name]
    images = pictures(1).repeat(30, 1, 1, 1)
    before = images.clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    out = step(generator(5), images)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert torch.equal(out, step(generator(5), images))
    assert not torch.equal(out, step(generator(6), images))
    assert torch.equal(images, before)
    kinds = len({tuple(picture.flatten().tolist()) for picture in out})
    assert kinds == 2 if name == "flip" else kinds > 10, "one draw for the whole batch"
    assert out.shape == images.shape and out.dtype == images.dtype


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_comes_first(name):
    with pytest.raises(TypeError, match="must be a torch.Generator, not int"):
        RANDOM[name](0, pictures())


def test_every_random_function_takes_the_generator_first():
    drawing = [n for n in au.__all__ if n.startswith("random_") or n in ("cutout", "colour_jitter")]
    assert len(drawing) == 6
    for name in drawing:
        assert next(iter(inspect.signature(getattr(au, name)).parameters)) == "generator"


# --- chaining -------------------------------------------------------------------------------------


def test_compose_is_one_after_the_other_and_hands_labels_through():
    steps = [RANDOM["crop"], au.random_flip, au.Normalise(au.CIFAR10)]
    images, labels = pictures(), torch.arange(6)
    chain = au.Compose(*steps)
    out, same = chain(generator(2), images, labels)
    expected, draws = images, generator(2)
    for step in steps:
        expected = step(draws, expected)
    assert torch.equal(out, expected) and same is labels
    assert repr(chain).startswith("Compose(random_crop(padding=2), random_flip, Normalise(")
    assert torch.equal(au.Compose()(generator(), images)[0], images)
    with pytest.raises(TypeError, match="a step must be callable"):
        au.Compose(3)
    with pytest.raises(TypeError, match="torch.Generator, not Tensor"):
        chain(images, labels)


def test_compose_augments_a_batch_source_as_a_function_of_seed_and_step():
    images, labels = pictures(12), torch.arange(12)
    chain = au.Compose(RANDOM["crop"], au.random_flip)
    source, again = (
        TensorBatches(images, labels, batch_size=4, seed=1, augment=chain) for _ in range(2)
    )
    plain = TensorBatches(images, labels, batch_size=4, seed=1)
    x, y = source.batch(2)
    assert torch.equal(y, plain.batch(2)[1]) and x.shape == (4, 3, 8, 8)
    assert torch.equal(x, again.batch(2)[0])
    assert not torch.equal(x, plain.batch(2)[0])


def test_flip_average():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    images = pictures()
    out = au.flip_average(model, images)
    assert torch.allclose(out, au.flip_average(model, images.flip(-1)), atol=1e-6)
    assert torch.allclose(out, torch.stack([model(images), model(images.flip(-1))]).mean(0))
