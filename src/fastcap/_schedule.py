"""Where many independent jobs run: in this process, in processes of this machine, or on a dask cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from fastcap.errors import ConfigError

Scheduler = Any  # None, "local", an address, or a dask client, which has no name where dask is missing
Progress = Callable[[int, int], object] | None
Job = tuple[Any, ...]

_AHEAD = 3  # jobs under way for each worker's thread: it is kept busy, and what is under way is bounded
_CONNECT_S = "20s"


def run_all(
    function: Callable[..., Any], jobs: Sequence[Job], scheduler: Scheduler, progress: Progress
) -> Iterator[Any]:
    """Yield ``function(*job)`` of every job, in their order; the rest is as for `run_any`."""
    waiting: dict[int, Any] = {}
    wanted = 0
    for number, value in run_any(function, jobs, scheduler, progress):
        waiting[number] = value
        while wanted in waiting:
            yield waiting.pop(wanted)
            wanted += 1


def run_any(
    function: Callable[..., Any], jobs: Sequence[Job], scheduler: Scheduler, progress: Progress = None
) -> Iterator[tuple[int, Any]]:
    """Yield the number of each job and what it gave, as they get done.

    A worker that dies costs the jobs that it had begun, which another takes up. A job at which workers die
    again and again is given up: dask's ``KilledWorker`` says so.

    Raises
    ------
    ConfigError
        dask is not installed, or the cluster cannot be reached.
    Exception
        What a job raised; those that have not begun are called off.
    """
    with connected(scheduler) as client:
        found = _here(function, jobs) if client is None else _far(function, jobs, client)
        for done, (number, value) in enumerate(found, 1):
            if progress is not None:
                progress(done, len(jobs))
            yield number, value


@contextmanager
def connected(scheduler: Scheduler) -> Iterator[Any]:
    """Yield a dask client, which is closed again unless it was given; None for this process.

    Raises
    ------
    ConfigError
        dask is not installed, ``scheduler`` is none, or the cluster cannot be reached.
    """
    if scheduler is None:
        yield None
        return
    distributed = _distributed()
    if isinstance(scheduler, distributed.Client):
        yield scheduler
    elif scheduler == "local":
        with _local_cluster(distributed) as cluster, distributed.Client(cluster) as client:
            yield client
    elif isinstance(scheduler, str):
        with _reached(distributed, scheduler) as client:
            yield client
    else:
        raise ConfigError(
            f"scheduler {scheduler!r} is not None, 'local', an address such as 'tcp://node1:8786' or a dask client"
        )


def _distributed() -> Any:
    """Return dask's package for clusters."""
    try:
        import distributed
    except ImportError as error:
        raise ConfigError(
            "a scheduler needs dask, which is not installed: pip install 'fastcap[dask]'"
        ) from error
    return distributed


def _local_cluster(distributed: Any) -> Any:
    """Return a dask cluster with a process for each core that this one may use."""
    workers = len(os.sched_getaffinity(0))
    try:
        with _main_unseen():
            return distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
            )
    except RuntimeError as error:
        raise ConfigError(
            f"processes of scheduler 'local' cannot be started: {error} If this is a script, its work must stand below "
            "if __name__ == '__main__':, for each process imports it"
        ) from error


@contextmanager
def _main_unseen() -> Iterator[None]:
    """Let processes start that do not run this script again: it may lack ``if __name__ == "__main__":``.

    They do not need it: what it defines goes along with each job.
    """
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    main.pop("__file__", None)
    try:
        yield
    finally:
        main.update(hidden)


def _reached(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"scheduler {address!r} cannot be reached: {error or 'no answer'}; "
            "give an address such as 'tcp://node1:8786', or 'local'"
        ) from error


def _here(function: Callable[..., Any], jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
    for number, job in enumerate(jobs):
        yield number, function(*job)


def _far(function: Callable[..., Any], jobs: Sequence[Job], client: Any) -> Iterator[tuple[int, Any]]:
    """Run jobs on a cluster; the function goes along with each, so that no worker is the only one to have it."""
    import cloudpickle

    packed = cloudpickle.dumps(function)
    todo = iter(enumerate(jobs))
    running: dict[Any, int] = {}
    completed = _distributed().as_completed()

    def submit() -> None:
        following = next(todo, None)
        if following is not None:
            future = client.submit(_call, packed, *following[1], pure=False)
            running[future] = following[0]
            completed.add(future)

    try:
        for _ in range(_AHEAD * max(1, sum(client.nthreads().values()))):
            submit()
        while running:
            future = next(completed)
            value = future.result()
            number = running.pop(future)
            submit()
            yield number, value
    finally:
        client.cancel(list(running))


def _call(packed: bytes, *job: Any) -> Any:
    return _unpacked(packed)(*job)


@lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> Callable[..., Any]:
    import pickle

    function: Callable[..., Any] = pickle.loads(packed)
    return function
