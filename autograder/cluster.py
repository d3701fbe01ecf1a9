"""Grading on a Dask cluster: the same jobs, the same files, other machines.

Does: send jobs (paths and hashes) to the workers of a Dask scheduler; on each worker keep one
warm referee with its own sandbox and let it write the result file; report jobs whose worker died.
Does not: move submissions or results over the network (the output folder must lie on a file system
that every worker sees under the same path), start a cluster, or protect the cluster itself: whoever
can reach its scheduler can run code on it, so keep it in a private network.

Workers need the same version of the course installed, and bubblewrap. One thread per worker is the
right number (``dask worker tcp://… --nthreads 1 --nworkers N``): a warm referee is a process.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from dataclasses import asdict
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from autograder import sandbox as sandboxes
from autograder.runner import RunError
from autograder.warm import Configuration, Job, Report, WarmReferee, WarmRefereeError

__all__ = ["Cluster", "grade_remotely"]

CONNECT_SECONDS = 20.0
PATIENCE_SECONDS = 60.0  # for workers, when there are none
JOBS_PER_THREAD = 2  # one that runs and one that waits, so that no worker idles

_lock = threading.Lock()
_warm: WarmReferee | None = None


def _close_warm() -> None:
    global _warm
    if _warm is not None:
        _warm.close()
        _warm = None


def _warm_referee(configuration: Configuration) -> WarmReferee:
    """This worker's warm referee, made anew when the stage changes. The lock must be held."""
    global _warm
    if _warm is None or _warm.configuration != configuration:
        _close_warm()
        if configuration.sandbox == "bwrap" and (problem := sandboxes.missing()):
            raise WarmRefereeError(f"on a worker of the cluster: {problem}")
        _warm = WarmReferee(configuration).__enter__()
        atexit.register(_close_warm)
    return _warm


def grade_remotely(configuration: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """What runs on a worker: one job in, one report out; the result is a file."""
    with _lock:
        try:
            warm = _warm_referee(Configuration(**configuration))
            warm.submit(Job(**job))
            [report] = warm.reports()
            return asdict(report)
        except WarmRefereeError as error:
            _close_warm()
            return asdict(Report(job["job"], False, cause="died", error=str(error)))


class Cluster:
    """A backend of ``runner`` on a Dask cluster. Raises ``RunError`` when it cannot be reached."""

    def __init__(self, configuration: Configuration, address: str) -> None:
        self.configuration = asdict(configuration)
        try:
            self.client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise RunError(
                f"no Dask scheduler answers at {address} ({error}): start one with "
                "'dask scheduler', give its address as tcp://HOST:8786, and check the firewall"
            ) from error
        self.done: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.futures: dict[int, Future] = {}
        self.alone_since: float | None = None
        if not self.threads():
            self.client.close()
            raise RunError(
                f"the Dask scheduler at {address} has no workers: start some with "
                f"'dask worker {address} --nthreads 1'"
            )

    def threads(self) -> int:
        """Of all workers that are there now; they may come and go."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["nthreads"] for worker in workers)

    @property
    def capacity(self) -> int:
        return JOBS_PER_THREAD * max(1, self.threads())

    def submit(self, job: Job) -> None:
        future = self.client.submit(
            grade_remotely, self.configuration, asdict(job), pure=False, retries=0
        )
        self.futures[job.job] = future
        future.add_done_callback(lambda done: self.done.put(self._report(job, done)))

    @staticmethod
    def _report(job: Job, future: Future) -> Report:
        """In one of the client's threads: what became of a job. Never raises."""
        try:
            if future.status == "finished":
                return Report(**future.result())
            error = future.exception() if future.status == "error" else None
        except Exception as failure:
            error = failure
        cause = "outside" if isinstance(error, KilledWorker) else "died"
        text = f"{type(error).__name__}: {error}" if error else f"the cluster: {future.status}"
        return Report(job.job, False, cause=cause, error=text)

    def wait(self, seconds: float) -> list[Report]:
        reports = []
        try:
            reports.append(self.done.get(timeout=seconds))
            while not self.done.empty():
                reports.append(self.done.get())
        except queue.Empty:
            self._expect_workers()
        for report in reports:
            self.futures.pop(report.job, None)
        return reports

    def _expect_workers(self) -> None:
        """Raise ``RunError`` when all workers have been gone for a while."""
        if self.threads():
            self.alone_since = None
            return
        self.alone_since = self.alone_since or time.monotonic()
        if time.monotonic() - self.alone_since > PATIENCE_SECONDS:
            raise RunError(
                f"the cluster has had no worker for {PATIENCE_SECONDS:g} s: start workers, then "
                "run the same command with --resume; what is done stays done"
            )

    def close(self) -> None:
        """Forget what has not begun, and let the workers' warm referees go."""
        self.client.cancel(list(self.futures.values()))
        self.client.run(_close_warm_if_idle, on_error="ignore")
        self.client.close()


def _close_warm_if_idle() -> None:
    if _lock.acquire(timeout=1.0):
        try:
            _close_warm()
        finally:
            _lock.release()
