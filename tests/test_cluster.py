"""Grading on a real Dask cluster of one scheduler and two workers, one of which is killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from grading_kit import digests, small_manifest, some_submissions

from autograder import cluster
from autograder.runner import RunError, run

pytestmark = pytest.mark.xdist_group("cluster")
MANIFEST = small_manifest()


class DaskCluster:
    """A scheduler and two workers as processes of their own, as on two machines."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address, self.folder = f"tcp://127.0.0.1:{port}", folder
        local = ("--host", "127.0.0.1", "--no-dashboard")
        self.scheduler = self._start("dask_scheduler", "--port", str(port), *local)
        self.workers: list[subprocess.Popen] = []

    def _start(self, module: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def add_worker(self) -> None:
        where = ("--local-directory", str(self.folder / f"worker-{len(self.workers)}"))
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        self.workers.append(self._start("dask_worker", self.address, *options, *where))

    def wait_for_workers(self, number: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=60)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory, need_program) -> Iterator[DaskCluster]:
    if sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    need_program("bwrap", why="submissions run behind bubblewrap")
    started = DaskCluster(tmp_path_factory.mktemp("dask"))
    try:
        started.add_worker()
        started.add_worker()
        started.wait_for_workers(2)
        yield started
    finally:
        started.close()


def test_a_cluster_gives_the_digests_of_one_machine_even_when_a_worker_is_killed(
    dask: DaskCluster, tmp_path: Path
) -> None:
    submissions = some_submissions(16)
    assert run(MANIFEST, submissions, tmp_path / "here", seed=5, progress=False).complete
    expected = digests(tmp_path / "here")

    there = tmp_path / "there"
    summary = run(MANIFEST, submissions, there, seed=5, scheduler=dask.address, progress=False)
    assert summary.complete and digests(there) == expected

    killed = tmp_path / "killed"
    family: list[psutil.Process] = []

    def kill_a_worker() -> None:
        """Once some results are there, kill the first worker with everything it has started."""
        worker = psutil.Process(dask.workers[0].pid)
        while len(list((killed / "results").glob("*.json"))) < 3:
            time.sleep(0.01)
        family.extend(worker.children(recursive=True))
        worker.kill()

    killer = threading.Thread(target=kill_a_worker, daemon=True)
    killer.start()
    summary = run(MANIFEST, submissions, killed, seed=5, scheduler=dask.address, progress=False)
    killer.join(10)
    assert dask.workers[0].wait(10) < 0 and family
    assert summary.complete and digests(killed) == expected
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive

    summary = run(
        MANIFEST, submissions, killed, seed=5, resume=True, scheduler=dask.address, progress=False
    )
    assert summary.kept == 16


def test_workers_let_their_warm_referees_go_at_the_end(dask: DaskCluster, tmp_path: Path) -> None:
    run(MANIFEST, some_submissions(2), tmp_path, scheduler=dask.address, progress=False)
    worker = psutil.Process(dask.workers[1].pid)
    lines = [" ".join(child.cmdline()) for child in worker.children(recursive=True)]
    assert not [line for line in lines if "autograder" in line or "bwrap" in line]


def test_no_scheduler_is_explained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(RunError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        run(
            MANIFEST, some_submissions(1), tmp_path,
            scheduler="tcp://127.0.0.1:1", progress=False,
        )  # fmt: skip


def test_a_cluster_without_workers_is_explained(tmp_path: Path, monkeypatch) -> None:
    """None at the start, and none that come back when all are lost."""
    empty = DaskCluster(tmp_path)
    try:
        with pytest.raises(RunError, match="has no workers: start some with 'dask worker"):
            run(
                MANIFEST, some_submissions(1), tmp_path / "a",
                scheduler=empty.address, progress=False,
            )  # fmt: skip
        monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 1.0)
        empty.add_worker()
        empty.wait_for_workers(1)
        threading.Timer(0.3, empty.workers[0].kill).start()
        with pytest.raises(RunError, match="has had no worker for 1 s.*--resume"):
            run(
                MANIFEST, some_submissions(40), tmp_path / "b",
                scheduler=empty.address, progress=False,
            )  # fmt: skip
    finally:
        empty.close()
