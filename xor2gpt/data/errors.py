"""The errors of the data package; every message says what to do.

Does: name them, so that callers can tell a damaged file from a missing network.
Does not: anything else.
"""

from __future__ import annotations

__all__ = ["DamagedFile", "DataError", "DiskFull", "DownloadFailed", "FormatError"]


class DataError(RuntimeError):
    """Data are not there, or not usable; the message names the file and the remedy."""


class DamagedFile(DataError):
    """A file's bytes are not those that the registry knows."""


class DownloadFailed(DataError):
    """An address did not give the file."""


class DiskFull(DataError):
    """No space is left where the data go."""


class FormatError(DataError):
    """A file's contents do not follow its format."""
