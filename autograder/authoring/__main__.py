"""``python -m autograder.authoring``: the tools of those who write stages."""

from autograder.authoring.cli import app

app(prog_name="python -m autograder.authoring")
