"""``python -m xor2gpt.pretrained``: list what ships, or take a recipe's output into the course."""

from __future__ import annotations

import argparse

from xor2gpt.pretrained import SHIPPED, adopt, load_pretrained


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m xor2gpt.pretrained", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, sizes and hashes; each model is loaded and checked")
    take = commands.add_parser("adopt", help="copy a folder into the course and pin its hash")
    take.add_argument("name")
    take.add_argument("folder")
    given = parser.parse_args()
    if given.command == "adopt":
        print(f"{given.name} is in {adopt(given.name, given.folder)}")
    for name, facts in SHIPPED.items():
        load_pretrained(name)
        size = f"{facts['bytes'] / 1e6:.2f} MB"
        print(f"{name}: {facts['parameters']:,} parameters, {size}, {facts['sha256']}")


if __name__ == "__main__":
    main()
