"""``python -m xor2gpt``: the command line, or, where its packages are missing, what to install.

Does: start `xor2gpt.cli`; run a plain ``doctor`` when typer, rich or Python 3.11 is missing.
Does not: hide any other import error.
"""

import sys


def _without(what: str) -> "int | str":
    """What to leave with when ``what`` is missing: doctor's exit code, or a message."""
    if sys.argv[1:2] == ["doctor"]:
        from xor2gpt.doctor import main_without_packages

        return main_without_packages()
    return (
        f"Error: {what} is missing: run `python -m pip install -r requirements.txt` "
        "with Python 3.11 in the course's folder, then `python -m xor2gpt doctor`"
    )


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        if sys.version_info < (3, 11):  # noqa: UP036  (an old Python must hear why, not crash)
            sys.exit(_without("Python 3.11"))
        from xor2gpt.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(_without(f"the package {error.name}"))
    app(prog_name="python -m xor2gpt")


if __name__ == "__main__":
    main()
