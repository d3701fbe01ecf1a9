"""From XOR to GPT: the library that the course builds towards."""

__version__ = "0.1.0"
