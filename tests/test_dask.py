"""Many files on a dask cluster of processes, some of which die: the same results as in one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fibre_files import fibre_words, split_night
from support.waiting import wait_until

import fastcap as fc
from fastcap import collection
from fastcap.errors import ConfigError
from fastcap.words import phase

distributed = pytest.importorskip("distributed")

DEADLINE_S = 60
EDGES = (0, 40_000, 80_000, 120_000, 160_000, 200_000)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as made:
        yield made


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster) as made:
        made.wait_for_workers(2, timeout=DEADLINE_S)
        yield made


@pytest.fixture
def night(tmp_path: Path) -> fc.TraceSet:
    return fc.load_many(split_night(tmp_path, EDGES))


def spectrum(window: Any) -> Any:
    return window.spectrogram(0.5, 0.5, (30, 50)).density.mean(axis=0)


def pid_and_words(trace: Any) -> tuple[int, int]:
    return os.getpid(), len(trace)


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    import cloudpickle

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def test_files_are_mapped_in_other_processes_and_come_back_in_order(night, client):
    found = night.map(pid_and_words, scheduler=client)

    assert [words for _, words in found] == [40_000] * 5
    assert os.getpid() not in {pid for pid, _ in found}


def test_windows_give_the_same_over_a_cluster_s_address(night, cluster):
    windows = night.windows("1s")
    near = windows.map(spectrum)
    far = windows.map(spectrum, scheduler=cluster.scheduler_address)

    np.testing.assert_array_equal(far.mean, near.mean)
    np.testing.assert_array_equal(far.time, near.time)


def test_rollovers_before_a_window_count_in_other_processes(night, client):
    windows = night.windows("1s")
    whole = phase(fibre_words(0, EDGES[-1]))

    found = windows.map(lambda w: w.phase()[[0, -1]], scheduler=client)

    expected = [whole[[w._begin, w._end - 1]] for w in windows]
    np.testing.assert_array_equal(found.mean, expected)
    assert np.ptp(found.mean) > 65_536 / 2


def test_statistics_of_chunks_on_a_cluster_are_those_of_one_pass(night, client, monkeypatch):
    monkeypatch.setattr(collection, "_CHUNK_WORDS", 15_000)
    near = night.stats()

    far = night.stats(scheduler=client)

    assert far.to_dict() == near.to_dict()
    assert far.phase_range_turns == pytest.approx(
        np.ptp(phase(fibre_words(0, EDGES[-1]))[12_000:]), rel=1e-12
    )


def test_a_function_s_error_comes_back_with_its_window_and_calls_the_rest_off(night, client):
    def fail(window):
        raise RuntimeError(f"no light in {len(window)} words")

    with pytest.raises(RuntimeError, match="no light in 10000 words") as error:
        night.windows("1s").map(fail, scheduler=client)
    assert "in the window of 2024-03-31T" in error.value.__notes__[0]
    assert (
        night.windows("1s").map(len, scheduler=client).mean.tolist() == [10_000] * 20
    )  # the cluster is well


class Held(threading.Thread):
    """Maps windows in a thread; the function holds one window until it is let go."""

    def __init__(self, folder: Path, night: fc.TraceSet, **options: Any) -> None:
        super().__init__(daemon=True)
        self.folder, self.night, self.options = folder, night, options
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        begun, go = str(self.folder / "begun"), str(self.folder / "go")

        def held(window):
            if window.start.second == 55:  # the sixth
                note = f"{begun}-{os.getpid()}"
                open(note, "w").close()
                wait_until(lambda: os.path.exists(go), DEADLINE_S, "leave to go on")
            return window.phase().mean()

        try:
            self.result = self.night.windows("1s").map(held, **self.options)
        except BaseException as error:
            self.error = error

    def worker(self) -> int:
        """Return the process that is in the function's midst."""

        def found() -> list[Path]:
            return sorted(self.folder.glob("begun-*"))

        return int(wait_until(found, DEADLINE_S, "a worker to begin")[-1].name.rpartition("-")[2])

    def finish(self) -> Any:
        (self.folder / "go").touch()
        self.join(DEADLINE_S)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def kill(pid: int) -> None:
    """Kill a worker, and see it die."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        wait_until(
            lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid), DEADLINE_S, "the worker to die"
        )
    finally:
        os.close(handle)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_worker_that_is_killed_in_mid_run_costs_nothing(night, client, tmp_path):
    expected = night.windows("1s").map(lambda w: w.phase().mean()).mean
    held = Held(tmp_path, night, scheduler=client)
    held.start()
    victim = held.worker()

    kill(victim)

    np.testing.assert_array_equal(held.finish().mean, expected)
    again = {int(path.name.rpartition("-")[2]) for path in tmp_path.glob("begun-*")}
    assert victim in again
    assert len(again) == 2  # another worker took the window up


def test_results_are_kept_when_the_whole_cluster_dies(night, tmp_path):
    kept = tmp_path / "results"
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as short_lived,
        distributed.Client(short_lived) as client,
    ):
        held = Held(tmp_path, night, scheduler=client, results=kept)
        held.start()
        held.worker()
        wait_until(lambda: len(list(kept.glob("2*.npz"))) >= 5, DEADLINE_S, "five windows to be kept")
        client.close()
    held.join(DEADLINE_S)
    assert held.error is not None
    done = len(list(kept.glob("2*.npz")))
    assert 5 <= done < 20

    (tmp_path / "go").touch()
    progress = []
    again = Held(tmp_path, night, results=kept, progress=lambda *now: progress.append(now))
    again.run()

    assert again.error is None
    assert progress[0] == (done + 1, 20)
    np.testing.assert_array_equal(again.result.mean, night.windows("1s").map(lambda w: w.phase().mean()).mean)


def test_local_processes_are_started_and_ended(night):
    before = set(os.listdir("/proc"))
    found = night.map(pid_and_words, scheduler="local")

    pids = {pid for pid, _ in found}
    assert os.getpid() not in pids
    assert not {str(pid) for pid in pids} & before
    wait_until(lambda: all(is_zombie(pid) for pid in pids), DEADLINE_S, "the workers to end")


def test_local_processes_serve_a_script_without_a_guard(night, tmp_path):
    """Each process would run it again, were it to import it."""
    paths = [tr.path for tr in night]
    script = tmp_path / "script.py"
    script.write_text(
        "import fastcap as fc\n"
        "print('begun')\n"
        "def count(tr):\n"
        "    return len(tr)\n"
        f"print(fc.load_many({paths!r}).map(count, scheduler='local'), __file__)\n"
    )
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )

    assert (run.returncode, run.stdout.splitlines()) == (
        0,
        ["begun", f"{[len(tr) for tr in night]} {script}"],
    ), run.stderr


def test_a_cluster_that_is_not_there_is_an_error_of_one_line(night, monkeypatch):
    monkeypatch.setattr("fastcap._schedule._CONNECT_S", "1s")

    with pytest.raises(ConfigError, match=r"scheduler 'tcp://127.0.0.1:1' cannot be reached"):
        night.map(len, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"scheduler 'nonsense://' cannot be reached"):
        night.map(len, scheduler="nonsense://")
