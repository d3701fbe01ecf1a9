"""Draw the course's logo and favicon.

Does: write ``static/logo-light.svg``, ``static/logo-dark.svg`` and ``static/favicon.svg``, the same
bytes on every run. The picture is stage 3's: the four points of XOR, and the two bent lines of a
hidden layer that part the ones from the zeros; the line runs on into a row of tokens.
Does not: need anything but Python, or run when the book is built (the files are committed).

    python book/theme/draw_logo.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"


@dataclass(frozen=True)
class Colours:
    """``zero`` and ``one`` for the points, ``line`` for the curve, ``ink`` for letters."""

    zero: str
    one: str
    line: str
    ink: str
    ground: str


LIGHT = Colours(zero="#1f5fa8", one="#c2410c", line="#3d4756", ink="#1b2430", ground="none")
DARK = Colours(zero="#7cb5f5", one="#ff9a62", line="#a9b4c2", ink="#e8edf4", ground="none")
ICON = Colours(zero="#7cb5f5", one="#ff9a62", line="#ffffff", ink="#ffffff", ground="#16324f")


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


def tokens(colours: Colours, left: float, top: float) -> list[str]:
    """A row of six tokens, the last still to come (dashed)."""
    shapes, x = [], left
    for i, width in enumerate((26, 16, 34, 20, 28, 22)):
        last = i == 5
        fill = "none" if last else (colours.one if i % 2 else colours.zero)
        edge = f' stroke="{colours.line}" stroke-width="2" stroke-dasharray="4 3"' if last else ""
        shapes.append(
            f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="12" rx="3" fill="{fill}"{edge}/>'
        )
        x += width + 5
    return shapes


def logo(colours: Colours) -> str:
    """Sign, name and token strip, 300 × 84."""
    shapes = [curve(band(22, 22, 40), colours, 3.2), *points(colours, 22, 22, 40, 8)]
    for text, x, y, size, weight in (
        ("From XOR", 106, 33, 27, 700),
        ("to GPT", 106, 61, 27, 700),
    ):
        shapes.append(
            f'<text x="{x}" y="{y}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, '
            f'Arial, sans-serif" font-size="{size}" font-weight="{weight}" '
            f'letter-spacing="-0.4" fill="{colours.ink}">{text}</text>'
        )
    shapes += tokens(colours, 106, 70)
    return svg(300, 84, "From XOR to GPT", shapes)


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
        "logo-light.svg": logo(LIGHT),
        "logo-dark.svg": logo(DARK),
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
