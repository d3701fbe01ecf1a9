"""Tools for those who write stages: text <-> notebook, run, release, lint, mutants, coverage."""
