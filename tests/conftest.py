"""What the tests share: the repository's root, a throw-away course, and programs that may lack."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch; children inherit it

from course_kit import ROOT, Course, copy_course  # noqa: E402  (after the environment)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A fresh copy of the small course."""
    return copy_course(tmp_path / "course")


@pytest.fixture(scope="session")
def need_program() -> Callable[..., str]:
    """``need_program("bwrap", why="…")``: its path; without it skip, but fail in CI on Linux
    (``.ci/run`` installs everything there; other systems do not have all of it)."""

    def need(*names: str, why: str) -> str:
        for name in names:
            if path := shutil.which(name):
                return path
        message = f"{' or '.join(names)} is not installed: {why}"
        if os.environ.get("CI", "").lower() in ("1", "true") and sys.platform == "linux":
            pytest.fail(f"{message} (CI must have it)")
        pytest.skip(message)

    return need


@pytest.fixture(autouse=True)
def torch_dtype_stays() -> Iterator[None]:
    """A stage's prelude may change torch's default dtype; the next test must not see it."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_default_dtype(torch.float32)
