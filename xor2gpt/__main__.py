"""``python -m xor2gpt``: the command line, or, where its packages are missing, what to install.

Does: start `xor2gpt.cli`; run a plain ``doctor`` when typer or rich is not there to be imported.
Does not: hide any other import error.
"""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from xor2gpt.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        if sys.argv[1:2] == ["doctor"]:
            from xor2gpt.doctor import main_without_packages

            sys.exit(main_without_packages())
        sys.exit(
            "Error: the package %s is missing: run `python -m pip install -r requirements.txt` "
            "in the course's folder, then `python -m xor2gpt doctor`" % error.name
        )
    app(prog_name="python -m xor2gpt")


if __name__ == "__main__":
    main()
