"""Small colour pictures in CIFAR's shape: the class is a shape, everything else is a nuisance.

Does: draw ten shapes under known colour, texture, size, place, rotation, mirroring, background,
occlusion, brightness and noise (:func:`shapes`), and a second domain of twenty other shapes in
other colours for transfer (:func:`two_domains`).
Does not: look like photographs, or put any of the class into colour or texture: those are drawn
independently of it. Does not train anything.
Source: own design. Point in polygon by the even-odd rule; sines from a table of integers, so that
no last bit of a floating-point function decides a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xor2gpt.data.sets import Pictures, Split

__all__ = [
    "COLOURS",
    "EASY",
    "HARD",
    "MUTED",
    "SHAPES",
    "STANDARD",
    "TARGET_SHAPES",
    "TEXTURES",
    "Drawn",
    "Nuisances",
    "TwoDomains",
    "draw",
    "shapes",
    "shapes_set",
    "two_domains",
]

SIDE = 32  # pixels
SUBPIXELS = 4  # positions and radii are whole quarters of a pixel
TURNS = 64  # steps of a full rotation
CHUNK = 256  # pictures drawn at once: the arrays of a chunk stay in the processor's cache

# round(1024 sin(k 5.625 degrees)), k = 0 .. 16
_QUARTER_SINE = (
    (0, 100, 200, 297, 392, 483, 569, 650, 724, 792, 851, 903, 946, 980, 1004, 1019, 1024)
)  # fmt: skip
_HALF = _QUARTER_SINE + _QUARTER_SINE[-2:0:-1]
SINE = np.array(_HALF + tuple(-value for value in _HALF), np.int32)  # (64,), times 1024
COSINE = np.roll(SINE, -TURNS // 4)

COLOURS = {
    "red": (205, 45, 45),
    "orange": (235, 135, 35),
    "yellow": (225, 215, 60),
    "green": (60, 165, 70),
    "cyan": (70, 195, 205),
    "blue": (50, 85, 200),
    "purple": (130, 60, 165),
    "pink": (235, 135, 185),
    "brown": (120, 75, 45),
    "grey": (130, 130, 135),
    "black": (35, 35, 40),
    "white": (225, 225, 220),
}
MUTED = {
    "rust": (150, 85, 65),
    "sand": (195, 175, 130),
    "olive": (115, 120, 60),
    "moss": (75, 105, 80),
    "teal": (70, 125, 130),
    "slate": (80, 95, 120),
    "plum": (110, 75, 105),
    "rose": (190, 140, 145),
    "charcoal": (55, 55, 60),
    "chalk": (205, 205, 195),
}
TEXTURES = ("plain", "stripes", "dots", "checker", "noise")


# --- outlines -------------------------------------------------------------------------------------

# A stencil is a square of CELLS cells, CELLS_PER_RADIUS of them a radius. Outlines are given in
# half cells, so a radius is 64. Cell centres have odd coordinates and vertices even ones: no
# centre lies on the level of a vertex.
CELLS = 96
CELLS_PER_RADIUS = 32
_CENTRES = 2 * np.arange(CELLS, dtype=np.int64) + 1 - CELLS
_x, _y = _CENTRES[None, :], _CENTRES[:, None]  # y grows downwards, as rows do

Outline = Callable[[], np.ndarray]  # () -> bool (CELLS, CELLS)


def _disc(radius: int = 60, x: int = 0, y: int = 0) -> np.ndarray:
    return (_x - x) ** 2 + (_y - y) ** 2 <= radius**2


def _polygon(*vertices: tuple[int, int]) -> np.ndarray:
    """Inside by the even-odd rule; vertices (x, y) with even coordinates."""
    inside = np.zeros((CELLS, CELLS), bool)
    for (x0, y0), (x1, y1) in zip(vertices, vertices[1:] + vertices[:1], strict=True):
        crosses = (y0 > _y) != (y1 > _y)
        side = (_x - x0) * (y1 - y0) < (x1 - x0) * (_y - y0)  # left of the edge, if it rises
        inside ^= crosses & (side == (y1 > y0))
    return inside


def _box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return (_x >= left) & (_x <= right) & (_y >= top) & (_y <= bottom)


def _cross() -> np.ndarray:
    return _box(-20, -62, 20, 62) | _box(-62, -20, 62, 20)


def _heart() -> np.ndarray:
    lobes = _disc(32, -28, -22) | _disc(32, 28, -22)
    return lobes | _polygon((-56, -6), (0, 64), (56, -6), (0, -30))


def _lens() -> np.ndarray:
    return _disc(76, -46, 0) & _disc(76, 46, 0)


def _wedge() -> np.ndarray:
    return _disc(60) & ~_polygon((0, 0), (90, -60), (90, 60))


def _fish() -> np.ndarray:
    body = 16 * (_x + 14) ** 2 + 36 * _y**2 <= 16 * 48**2
    return body | _polygon((20, 0), (64, -34), (64, 34))


def _frame() -> np.ndarray:
    return _box(-52, -52, 52, 52) & ~_box(-26, -26, 26, 26)


_OUTLINES: dict[str, Outline] = {
    "disc": _disc,
    "square": lambda: _box(-50, -50, 50, 50),
    "triangle": lambda: _polygon((0, -66), (58, 40), (-58, 40)),
    "ring": lambda: _disc(62) & ~_disc(34),
    "cross": _cross,
    "star": lambda: _polygon(
        *((0, -66), (16, -22), (62, -20), (26, 8), (38, 54)),
        *((0, 28), (-38, 54), (-26, 8), (-62, -20), (-16, -22)),
    ),
    "heart": _heart,
    "moon": lambda: _disc(62) & ~_disc(50, 30, 0),
    "arrow": lambda: _polygon(
        (-62, -18), (0, -18), (0, -54), (64, 0), (0, 54), (0, 18), (-62, 18)
    ),
    "hexagon": lambda: _polygon((62, 0), (32, 54), (-32, 54), (-62, 0), (-32, -54), (32, -54)),
    # the target domain's
    "bar": lambda: _box(-64, -22, 64, 22),
    "ellipse": lambda: 9 * _x**2 + 25 * _y**2 <= 9 * 64**2,
    "half disc": lambda: _disc(62, 0, 24) & (_y <= 24),
    "wedge": _wedge,
    "frame": _frame,
    "kite": lambda: _polygon((0, -64), (40, -20), (0, 64), (-40, -20)),
    "trapezium": lambda: _polygon((-28, -40), (28, -40), (62, 40), (-62, 40)),
    "house": lambda: _polygon((-46, 56), (-46, -8), (0, -60), (46, -8), (46, 56)),
    "letter L": lambda: _polygon((-46, -60), (-10, -60), (-10, 24), (46, 24), (46, 60), (-46, 60)),
    "letter T": lambda: _box(-56, -58, 56, -24) | _box(-18, -58, 18, 60),
    "letter U": lambda: _box(-54, -54, 54, 58) & ~_box(-20, -60, 20, 22),
    "letter Z": lambda: _polygon(
        *((-54, -58), (54, -58), (54, -32), (-8, 28), (54, 28)),
        *((54, 58), (-54, 58), (-54, 32), (8, -28), (-54, -28)),
    ),
    "letter H": lambda: (
        _box(-58, -58, -26, 58) | _box(26, -58, 58, 58) | _box(-58, -16, 58, 16)
    ),
    "bolt": lambda: _polygon((10, -66), (-40, 10), (-4, 10), (-14, 66), (40, -12), (4, -12)),
    "hourglass": lambda: _polygon((-50, -58), (50, -58), (10, 0), (50, 58), (-50, 58), (-10, 0)),
    "chevron": lambda: _polygon((-20, -58), (24, -58), (62, 0), (24, 58), (-20, 58), (18, 0)),
    "fish": _fish,
    "lens": _lens,
    "three dots": lambda: _disc(26, 0, -36) | _disc(26, -38, 30) | _disc(26, 38, 30),
    "stairs": lambda: _polygon(
        *((-58, 58), (-58, 20), (-20, 20), (-20, -20), (20, -20), (20, -58), (58, -58), (58, 58)),
    ),
}  # fmt: skip
_NAMES = tuple(_OUTLINES)
SHAPES = _NAMES[:10]
TARGET_SHAPES = _NAMES[10:]


def _stencils() -> np.ndarray:
    """Coverage 0 to 256 of each shape, uint16 (shapes, CELLS, CELLS), softened over 3 x 3 cells.

    Three cells are about one pixel of the drawn picture, so edges come out antialiased.
    """
    hard = np.stack([_OUTLINES[name]() for name in _NAMES]).astype(np.int32)
    padded = np.pad(hard, ((0, 0), (1, 1), (1, 1)))
    total = sum(
        padded[:, row : row + CELLS, column : column + CELLS]
        for row in range(3)
        for column in range(3)
    )
    return (total * 256 // 9).astype(np.int32)


_CACHE: dict[str, np.ndarray] = {}


def _cached_stencils() -> np.ndarray:
    if "stencils" not in _CACHE:
        _CACHE["stencils"] = _stencils()
    return _CACHE["stencils"]


# --- factors --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nuisances:
    """How much of each nuisance; ranges are (lowest, highest), both included.

    Attributes:
        radius: of the shape, in quarters of a pixel.
        shift: the centre's greatest distance from the middle, in quarters of a pixel.
        turns: greatest rotation either way, in 64ths of a full turn (32: any rotation).
        texture: strength of the shape's and the background's texture, 0 to 255.
        occluded: of 16 pictures so many have a bar across them.
        bar: width of the bar in pixels.
        brightness: factor on the picture in 128ths.
        noise: greatest change of a colour value by noise.
        colours: names and RGB values to draw from; a shape never has its background's name.
        jitter: greatest change of a colour value against its palette.
    """

    radius: tuple[int, int] = (34, 48)
    shift: int = 8
    turns: int = 3
    texture: tuple[int, int] = (0, 36)
    occluded: int = 1
    bar: tuple[int, int] = (2, 5)
    brightness: tuple[int, int] = (110, 140)
    noise: int = 8
    colours: dict[str, tuple[int, int, int]] = None  # type: ignore[assignment]
    jitter: int = 10

    def __post_init__(self) -> None:
        if self.colours is None:
            object.__setattr__(self, "colours", COLOURS)
        for name in ("radius", "texture", "bar", "brightness"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is a range (lowest, highest) from 0, not {(low, high)}")
        if self.radius[0] < 8:
            raise ValueError(
                f"a radius of {self.radius[0]} quarters of a pixel draws blots: take 16 or more"
            )
        if not 0 <= self.occluded <= 16:
            raise ValueError(f"occluded counts pictures of 16, so 0 to 16, not {self.occluded}")
        if len(self.colours) < 2:
            raise ValueError("a shape and its background need two different colours")


STANDARD = Nuisances()
EASY = Nuisances(
    radius=(36, 48), shift=4, turns=2, texture=(0, 24), occluded=0, brightness=(120, 136), noise=4
)
HARD = Nuisances(
    radius=(24, 50), shift=24, turns=8, texture=(0, 90), occluded=6, bar=(2, 7),
    brightness=(70, 150), noise=24, jitter=24,
)  # fmt: skip


@dataclass(frozen=True)
class Drawn(Split):
    """Pictures with labels and the factors that made them.

    ``images`` uint8 (N, 3, 32, 32) and ``labels`` int64 (N,), as in :class:`Split`;
    ``factors`` maps a name to int64 (N,): ``shape`` (the label), ``colour``, ``background``
    (indices into ``colours``), ``texture``, ``background_texture`` (indices into ``TEXTURES``),
    ``radius``, ``row``, ``column`` (quarters of a pixel), ``turn`` (64ths), ``mirrored``,
    ``bar`` (width in pixels, 0: none), ``covered`` (thousandths of the shape behind the bar or
    outside the picture) and ``brightness`` (128ths).
    """

    factors: dict[str, np.ndarray]
    classes: tuple[str, ...]
    colours: tuple[str, ...]


def _draw_factors(
    rng: np.random.Generator, labels: np.ndarray, nuisances: Nuisances
) -> dict[str, np.ndarray]:
    """One value of every factor a picture, each independent of the label."""
    count, colours = len(labels), len(nuisances.colours)

    def within(low: int, high: int) -> np.ndarray:
        return rng.integers(low, high + 1, count, np.int64)

    middle, shift = SIDE * SUBPIXELS // 2, nuisances.shift
    factors = {
        "shape": labels,
        "colour": within(0, colours - 1),
        "background": within(0, colours - 2),
        "texture": within(0, len(TEXTURES) - 1),
        "background_texture": within(0, len(TEXTURES) - 1),
        "radius": within(*nuisances.radius),
        "row": within(middle - shift, middle + shift),
        "column": within(middle - shift, middle + shift),
        "turn": within(-nuisances.turns, nuisances.turns) % TURNS,
        "mirrored": within(0, 1),
        "bar": np.where(within(0, 15) < nuisances.occluded, within(*nuisances.bar), 0),
        "brightness": within(*nuisances.brightness),
    }
    factors["background"] += factors["background"] >= factors["colour"]  # any but the shape's
    return factors


# --- drawing --------------------------------------------------------------------------------------


def _coverage(shape: np.ndarray, factors: dict[str, np.ndarray]) -> np.ndarray:
    """How much of each pixel the shape covers, 0 to 256: int32 (N, 32, 32)."""
    sine, cosine = SINE[factors["turn"]], COSINE[factors["turn"]]
    scale = ((CELLS_PER_RADIUS << 10) // factors["radius"]).astype(np.int32)  # (N,)
    centres = SUBPIXELS * np.arange(SIDE, dtype=np.int32) + SUBPIXELS // 2
    across = centres - factors["column"].astype(np.int32)[:, None]  # (N, 32)
    down = centres - factors["row"].astype(np.int32)[:, None]
    mirror = (1 - 2 * factors["mirrored"]).astype(np.int32)

    def cell(x_factor: np.ndarray, y_factor: np.ndarray) -> np.ndarray:
        along_x = (across * (x_factor * scale)[:, None])[:, None, :]
        along_y = (down * (y_factor * scale)[:, None])[:, :, None]
        return np.clip((along_x + along_y >> 20) + CELLS // 2, 0, CELLS - 1)  # (N, 32, 32)

    u, v = cell(cosine * mirror, sine * mirror), cell(-sine, cosine)
    index = (shape.astype(np.int32) * CELLS**2)[:, None, None] + v * CELLS + u
    return _cached_stencils().ravel()[index]


# Directions and periods are small whole numbers, so textures need no trigonometry.
_DIRECTIONS = np.array(
    [(1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2)], np.int32
)


def _texture(rng: np.random.Generator, kinds: np.ndarray) -> np.ndarray:
    """A texture a picture, values -128 to 127: int32 (N, 32, 32)."""
    count = len(kinds)
    period = rng.integers(3, 7, count, np.int32)
    phase = rng.integers(0, 64, (count, 2), np.int32)
    direction = _DIRECTIONS[rng.integers(0, len(_DIRECTIONS), count)]
    grain = rng.integers(-128, 128, (count, SIDE // 2, SIDE // 2), np.int32)
    pixels = np.arange(SIDE, dtype=np.int32)
    values = np.zeros((count, SIDE, SIDE), np.int32)
    for number, kind in enumerate(TEXTURES):
        which = np.flatnonzero(kinds == number)
        x = (pixels + phase[which, :1])[:, None, :]
        y = (pixels + phase[which, 1:])[:, :, None]
        step = period[which][:, None, None]
        if kind == "stripes":
            a, b = direction[which].T[:, :, None, None]
            on = (a * x + b * y) // step % 2
        elif kind == "dots":
            on = (2 * (x % (step + 1)) - step) ** 2 + (2 * (y % (step + 1)) - step) ** 2 <= step**2
        elif kind == "checker":
            on = (x // step + y // step) % 2
        elif kind == "noise":
            values[which] = grain[which].repeat(2, 1).repeat(2, 2)
            continue
        else:
            continue
        values[which] = np.where(on, 127, -128)
    return values


def _paint(
    rng: np.random.Generator, colour: np.ndarray, texture: np.ndarray, nuisances: Nuisances
) -> np.ndarray:
    """Textured planes of one colour each: int32 (N, 3, 32, 32), values may leave 0..255."""
    count = len(colour)
    palette = np.array(list(nuisances.colours.values()), np.int32)
    jitter = rng.integers(-nuisances.jitter, nuisances.jitter + 1, (count, 3), np.int32)
    low, high = nuisances.texture
    strength = rng.integers(low, high + 1, count, np.int32)
    pattern = _texture(rng, texture) * strength[:, None, None] >> 8  # (N, 32, 32)
    return (palette[colour] + jitter)[:, :, None, None] + pattern[:, None]


def _bars(rng: np.random.Generator, width: np.ndarray) -> np.ndarray:
    """Where a bar hides the picture: bool (N, 32, 32), upright or lying, near the middle."""
    count = len(width)
    start = rng.integers(6, 22, count, np.int64)
    upright = rng.integers(0, 2, count, np.int64).astype(bool)
    pixels = np.arange(SIDE)
    line = (pixels >= start[:, None]) & (pixels < (start + width)[:, None])  # (N, 32)
    whole = np.ones((1, SIDE), bool)
    return np.where(
        upright[:, None, None],
        line[:, None, :] & whole[:, :, None],
        line[:, :, None] & whole[:, None, :],
    )


def _areas(shape: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The whole shape's area in the units of :func:`_coverage`, as if nothing hid it."""
    cells = _cached_stencils().sum((1, 2), dtype=np.int64)[shape]
    return cells * radius**2 // (CELLS_PER_RADIUS * SUBPIXELS) ** 2


def _draw_chunk(
    rng: np.random.Generator, shape: np.ndarray, labels: np.ndarray, nuisances: Nuisances
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    factors = _draw_factors(rng, labels, nuisances)
    count = len(labels)
    cover = _coverage(shape, factors)
    front = _paint(rng, factors["colour"], factors["texture"], nuisances)
    back = _paint(rng, factors["background"], factors["background_texture"], nuisances)
    image = back + ((front - back) * cover[:, None] >> 8)

    bars = _bars(rng, factors["bar"])
    bar_colour = rng.integers(0, 256, (count, 3), np.int32)[:, :, None, None]
    image = np.where(bars[:, None], bar_colour, image)
    seen = np.where(bars, 0, cover).sum((1, 2), dtype=np.int64)
    area = _areas(shape, factors["radius"])
    factors["covered"] = np.clip((area - seen) * 1000 // area, 0, 1000)

    noise = nuisances.noise
    speckle = rng.integers(-noise, noise + 1, (count, 3, SIDE, SIDE), np.int16)
    image = (image * factors["brightness"].astype(np.int32)[:, None, None, None] >> 7) + speckle
    return np.clip(image, 0, 255).astype(np.uint8), factors


def draw(
    labels: np.ndarray | Sequence[int],
    *,
    seed: int,
    classes: Sequence[str] = SHAPES,
    nuisances: Nuisances = STANDARD,
) -> Drawn:
    """Pictures of given classes: ``labels`` (N,) are indices into ``classes``.

    Raises:
        ValueError: an unknown shape, or a label that ``classes`` does not have.
    """
    labels = np.asarray(labels, np.int64)
    unknown = [name for name in classes if name not in _OUTLINES]
    if unknown:
        raise ValueError(f"no such shape: {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    if labels.ndim != 1:
        raise ValueError(f"labels are one number a picture, not an array of shape {labels.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, "
            f"but there are {len(classes)} classes (0 to {len(classes) - 1})"
        )
    stencil = np.array([_NAMES.index(name) for name in classes], np.int64)
    rng = np.random.Generator(np.random.PCG64(seed))
    starts = range(0, len(labels), CHUNK) if len(labels) else (0,)
    parts = [
        _draw_chunk(rng, stencil[part], part, nuisances)
        for part in (labels[start : start + CHUNK] for start in starts)
    ]
    return Drawn(
        np.concatenate([images for images, _ in parts]),
        labels,
        {name: np.concatenate([factors[name] for _, factors in parts]) for name in parts[0][1]},
        tuple(classes),
        tuple(nuisances.colours),
    )


def _balanced(n: int, classes: int, seed: int) -> np.ndarray:
    """``n`` labels in random order, every class equally often (give or take one)."""
    if isinstance(n, bool) or int(n) != n or n < 0:
        raise ValueError(f"n is a number of pictures, 0 or more, not {n!r}")
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    return rng.permutation(np.arange(int(n), dtype=np.int64) % classes)


def shapes(
    n: int,
    *,
    seed: int,
    classes: Sequence[str] = SHAPES,
    nuisances: Nuisances = STANDARD,
) -> Drawn:
    """``n`` pictures of shapes, classes balanced: uint8 (n, 3, 32, 32) with their factors.

    Args:
        n: how many.
        seed: the same seed gives the same bytes on every machine; another seed another set.
        classes: names of ``SHAPES`` or ``TARGET_SHAPES``; a label is an index into them.
        nuisances: ``STANDARD``, ``EASY`` or your own.

    Raises:
        ValueError: ``n`` is no number of pictures, or a class has no outline.
    """
    labels = _balanced(n, len(classes), seed)
    return draw(labels, seed=seed, classes=classes, nuisances=nuisances)


def shapes_set(
    n_train: int = 4000,
    n_test: int = 1000,
    *,
    seed: int = 0,
    nuisances: Nuisances = STANDARD,
) -> Pictures:
    """The set that ``data.load("shapes")`` gives: the two parts come from different seeds.

    Seed s takes :func:`shapes`' seeds 2s and 2s + 1: for more pictures use another, such as 100.
    """
    return Pictures(
        "shapes",
        shapes(n_train, seed=2 * seed, nuisances=nuisances),
        shapes(n_test, seed=2 * seed + 1, nuisances=nuisances),
        SHAPES,
    )


class TwoDomains(NamedTuple):
    """Two picture sets that share strokes, edges and textures, but no class and no colour."""

    source: Pictures
    target: Pictures


# Other colours, any rotation, weaker texture: what differs besides the classes.
TARGET_NUISANCES = Nuisances(radius=(36, 50), shift=8, turns=5, texture=(0, 32), colours=MUTED)


def two_domains(
    n_source: int = 4000,
    per_class: int = 10,
    n_test: int = 1000,
    *,
    seed: int = 0,
) -> TwoDomains:
    """A source domain with many labels and a target domain of 20 classes with few.

    Args:
        n_source: training pictures of the ten source shapes (its test part has ``n_test``).
        per_class: training pictures a class of the target domain.
        n_test: test pictures of each domain.
        seed: of both domains. The first k pictures a class are the same for every ``per_class``
            of at least k: accuracy against labels a class compares like with like.

    Raises:
        ValueError: a number is negative.
    """
    if per_class < 0:
        raise ValueError(f"per_class is a number of pictures a class, 0 or more, not {per_class}")
    source = Pictures(
        "shapes-source",
        shapes(n_source, seed=4 * seed + 1_000_000),
        shapes(n_test, seed=4 * seed + 1_000_001),
        SHAPES,
    )
    target = {"classes": TARGET_SHAPES, "nuisances": TARGET_NUISANCES}
    classes = len(TARGET_SHAPES)
    rounds = -(-max(per_class * classes, 1) // CHUNK) * CHUNK  # whole chunks: prefixes agree
    whole = draw(np.arange(rounds) % classes, seed=4 * seed + 1_000_002, **target)
    train = _first(whole, per_class * classes)
    test = shapes(n_test, seed=4 * seed + 1_000_003, **target)
    return TwoDomains(source, Pictures("shapes-target", train, test, TARGET_SHAPES))


def _first(drawn: Drawn, count: int) -> Drawn:
    return Drawn(
        drawn.images[:count],
        drawn.labels[:count],
        {name: values[:count] for name, values in drawn.factors.items()},
        drawn.classes,
        drawn.colours,
    )
