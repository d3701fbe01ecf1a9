"""The course's own Sphinx extension: what Jupyter Book does not do for graded notebooks.

Does: frame exercises and label reference outputs (``stages``), write the pages of reference
answers (``answers``), render quiz banks (``quiz``) and result files (``results``), make anchors
of the glossary and the bibliography linkable from notebooks (``anchors``), and keep the pages free
of requests to other hosts (``pages``).
Does not: execute notebooks, write a file outside the build folder, or need the network.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from course import anchors, answers, elements, pages, quiz, results, stages

__version__ = "1.0"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register every part; called by Sphinx."""
    app.add_config_value("xor2gpt_reference_answers", True, "env", types=[bool])
    for part in (elements, stages, answers, anchors, quiz, results, pages):
        part.setup(app)
    return {
        "version": __version__,
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
