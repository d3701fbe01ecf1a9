"""Draw the course's logo and favicon.

Does: write the SVG files of ``static/``, the same bytes on every run. The sign is the picture of
stage 3: the four points of XOR, parted by the two bent lines of a hidden layer. The strip of tokens
under the course's name is where it ends: text, with one token still to come.
Does not: need anything but Python, or run when the book is built (the files are committed).

    python book/theme/draw_logo.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"


@dataclass(frozen=True)
class Colours:
    """``zero`` and ``one`` for points and tokens, ``line`` for curves, ``ground`` behind all."""

    zero: str
    one: str
    line: str
    ground: str


LIGHT = Colours(zero="#1f5fa8", one="#c2410c", line="#3d4756", ground="none")
DARK = Colours(zero="#7cb5f5", one="#ff9a62", line="#a9b4c2", ground="none")
ICON = Colours(zero="#7cb5f5", one="#ff9a62", line="#ffffff", ground="#16324f")


def points(colours: Colours, left: float, top: float, side: float, radius: float) -> list[str]:
    """The four points of XOR: zeros are rings, ones are discs (never by colour alone)."""
    shapes = []
    for x in (0, 1):
        for y in (0, 1):
            cx, cy = left + side * x, top + side * (1 - y)
            if x ^ y:
                shapes.append(
                    f'<circle cx="{cx:g}" cy="{cy:g}" r="{radius:g}" fill="{colours.one}"/>'
                )
            else:
                width = radius * 0.62
                shapes.append(
                    f'<circle cx="{cx:g}" cy="{cy:g}" r="{radius - width / 2:g}" fill="none" '
                    f'stroke="{colours.zero}" stroke-width="{width:g}"/>'
                )
    return shapes


def band(left: float, top: float, side: float) -> str:
    """Two curves with the ones between them: they bend round the two zeros."""
    right, bottom = left + side, top + side
    reach = 0.62 * side  # how far from a zero its curve passes
    edge = 0.42 * side  # how far the curves run over the square
    lower = (
        f"M{left - edge:g} {bottom - reach:g} "
        f"Q{left + reach * 0.86:g} {bottom - reach * 0.86:g} {left + reach:g} {bottom + edge:g}"
    )
    upper = (
        f"M{right - reach:g} {top - edge:g} "
        f"Q{right - reach * 0.86:g} {top + reach * 0.86:g} {right + edge:g} {top + reach:g}"
    )
    return f"{lower} {upper}"


def svg(width: float, height: float, title: str, shapes: list[str]) -> str:
    body = "\n".join(f"  {shape}" for shape in shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="{title}">\n  <title>{title}</title>\n{body}\n</svg>\n'
    )


def curve(path: str, colours: Colours, width: float) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{colours.line}" stroke-width="{width:g}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def tokens(colours: Colours) -> str:
    """A row of six tokens, 132 × 12, the last still to come (dashed)."""
    shapes, x = [], 1.0
    for i, width in enumerate((22, 13, 28, 16, 24, 2 * 11)):
        last = i == 5
        fill = "none" if last else (colours.one if i % 2 else colours.zero)
        edge = f' stroke="{colours.line}" stroke-width="1.5" stroke-dasharray="3 2.5"'
        shapes.append(
            f'<rect x="{x:g}" y="1.5" width="{width:g}" height="9" rx="2.5" fill="{fill}"'
            f"{edge if last else ''}/>"
        )
        x += width + 4
    return svg(x, 12, "tokens", shapes)


def sign(colours: Colours) -> str:
    """The four points and the two curves that part them, 84 × 84."""
    shapes = [curve(band(22, 22, 40), colours, 3.2), *points(colours, 22, 22, 40, 8)]
    return svg(84, 84, "From XOR to GPT", shapes)


def favicon(colours: Colours) -> str:
    """The sign alone, 64 × 64, on a ground of its own."""
    return svg(
        64,
        64,
        "From XOR to GPT",
        [
            f'<rect width="64" height="64" rx="13" fill="{colours.ground}"/>',
            curve(band(19, 19, 26), colours, 3),
            *points(colours, 19, 19, 26, 7),
        ],
    )


def files() -> dict[str, str]:
    """Every file's name and content."""
    return {
        "logo-light.svg": sign(LIGHT),
        "logo-dark.svg": sign(DARK),
        "tokens-light.svg": tokens(LIGHT),
        "tokens-dark.svg": tokens(DARK),
        "favicon.svg": favicon(ICON),
    }


def main(folder: Path = STATIC) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in files().items():
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written


if __name__ == "__main__":
    for path in main():
        print(f"wrote {path.name}")
