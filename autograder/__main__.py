"""``python -m autograder``: grade notebooks, check your own, report, export."""

from autograder.cli import app

app(prog_name="python -m autograder")
