"""The first transformer: an encoder that reads and a decoder that writes.

Does: draw both halves for one translated sentence, and what BERT and GPT keep.
Does not: show the layers inside (stage 11 does, for the decoder).
"""

from __future__ import annotations

import sys

from common import Palette, arrow, blank, box, main
from matplotlib.figure import Figure


def draw(palette: Palette) -> Figure:
    """Left the encoder, right the decoder; the embeddings go from the first into the second."""
    figure, axes = blank(4.6, 4.0)
    note = {"ha": "center", "va": "center", "color": palette.muted, "fontsize": 9.5}
    box(axes, palette, (11.5, 5.5), (19.0, 5.4), "input text", "This is an example", 0)
    box(axes, palette, (11.5, 17.5), (19.0, 8.0), "encoder", "reads all of it,\nboth directions", 2)
    box(axes, palette, (11.5, 29.5), (19.0, 5.4), "embeddings", "vectors of numbers", 1)
    box(axes, palette, (35.0, 5.5), (19.0, 5.4), "output so far", "Das ist ein", 0)
    box(
        axes, palette, (35.0, 17.5), (19.0, 8.0), "decoder", "looks back only,\none token a time", 2
    )
    box(axes, palette, (35.0, 29.5), (19.0, 5.4), "next token", "Beispiel", 3)
    for x in (11.5, 35.0):
        arrow(axes, palette, (x, 8.4), (x, 13.3))
        arrow(axes, palette, (x, 21.7), (x, 26.6))
    arrow(axes, palette, (21.2, 29.0), (26.0, 20.5), bend=-0.15)
    axes.text(11.5, 36.2, "BERT keeps this half", **note)
    axes.text(35.0, 36.2, "GPT keeps this half", **note)
    return figure


if __name__ == "__main__":
    sys.exit(main("lm_transformer", draw))
