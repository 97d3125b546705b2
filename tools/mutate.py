"""Put small mistakes into the code, one at a time, and see whether the tests notice.

    python tools/mutate.py                     # every mutant of tools/mutants.toml
    python tools/mutate.py --ci --jobs 2       # those that .ci/run tries
    python tools/mutate.py 'writing-*' ring-fence

Flow: the tree is copied once per job, extensions included -> one edit is made in the copy, extensions that it
touches are built again -> the tests named by the mutant run there, in namespaces of their own -> the edit is
taken back. A mutant is *killed* when these tests fail or do not end, and *survives* when they pass. Before any
edit all tests to be used must pass: a failing test kills nothing. Exit status 1 if a mutant survived that is
not listed as ``survives``, or if one that is listed was killed.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.isolation import in_namespaces

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tools" / "mutants.toml"
COPIED = (
    "src",
    "tests",
    "tools",
    "bench",
    "docs",
    "examples",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "build",
)
COMPILED = (".pyx", ".pxd", ".h")
TIMEOUT_S = 300.0
_NOT_RUN = (3, 4, 5)  # pytest's internal error, wrong usage, no test


@dataclass(frozen=True)
class Mutant:
    """One mistake: ``old`` becomes ``new`` in ``file``, and one of ``tests`` has to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    ci: bool = False
    survives: str = ""  # why nothing can notice, or does not yet

    def is_named(self, patterns: list[str]) -> bool:
        """Tell whether its name matches one of the shell patterns; none given: yes."""
        return not patterns or any(fnmatch.fnmatch(self.name, pattern) for pattern in patterns)

    def edited(self, text: str) -> str:
        """Return the file's text with the mistake.

        Raises
        ------
        ValueError
            ``old`` does not stand in it exactly once: the code has changed, and the list has not.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(
                f"mutant {self.name}: its old text stands {count} times in {self.file}, not once"
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: ``killed``, ``killed (timeout)``, ``survived`` or ``does not compile``."""

    mutant: Mutant
    verdict: str
    by: str
    seconds: float

    @property
    def expected(self) -> bool:
        """The verdict is the one that the list gives."""
        return self.verdict.startswith("survived" if self.mutant.survives else "killed")


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """Read the list.

    Raises
    ------
    ValueError
        An entry is incomplete, a name stands twice, or an old text is not in its file exactly once.
    """
    mutants = []
    for entry in tomllib.loads(path.read_text())["mutant"]:
        try:
            mutants.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
        except (TypeError, KeyError) as e:
            raise ValueError(f"mutant {entry.get('name', entry)!r}: {e}") from e
    names = [m.name for m in mutants]
    if twice := {n for n in names if names.count(n) > 1}:
        raise ValueError(f"mutants named twice: {', '.join(sorted(twice))}")
    for mutant in mutants:
        mutant.edited((ROOT / mutant.file).read_text())
    return mutants


class Bench:
    """A copy of the tree, in which one mutant at a time is tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            elif source.exists():  # nothing may be built yet
                shutil.copy2(source, folder / name)
        if broken := self.build():  # what is built already, and up to date, stays
            raise RuntimeError(f"the extensions cannot be built: {broken[-2000:]}")

    def _run(self, argv: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src")}
        return subprocess.run(
            argv, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s,
            start_new_session=True,
        )  # fmt: skip

    def build(self) -> str:
        """Build the extensions that are out of date; return what the compiler said if it failed."""
        argv = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        try:
            done = self._run(argv, TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"not built within {TIMEOUT_S:g} s"
        return done.stderr if done.returncode else ""

    def _built(self) -> dict[Path, tuple[bytes, os.stat_result]]:
        """Return what was made of the sources, and when."""
        made = [
            *self.folder.glob("src/**/*.so"),
            *self.folder.glob("src/**/*.c"),
            *self.folder.glob("build/**/*"),
        ]
        return {path: (path.read_bytes(), path.stat()) for path in made if path.is_file()}

    def test(self, tests: tuple[str, ...]) -> tuple[str, str]:
        """Run tests; return a verdict, and the first test that failed."""
        argv = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
        try:
            done = self._run(in_namespaces(argv), TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "killed (timeout)", ", ".join(tests)
        if done.returncode in _NOT_RUN:
            raise RuntimeError(f"pytest {' '.join(tests)} did not run: {(done.stdout + done.stderr)[-2000:]}")
        if done.returncode == 0:
            return "survived", ""
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        status = f"status {done.returncode} of pytest"  # it may not even be imported, or end the interpreter
        return "killed", failed[0].split(" - ")[0].split(" ", 1)[1] if failed else status

    def attempt(self, mutant: Mutant) -> Outcome:
        """Make the mistake, run its tests, and take it back."""
        begun = time.monotonic()
        path = self.folder / mutant.file
        compiled = path.suffix in COMPILED
        before = {path: (path.read_bytes(), path.stat())} | (self._built() if compiled else {})
        path.write_text(mutant.edited(path.read_text()))
        try:
            broken = self.build() if compiled else ""
            verdict, by = ("does not compile", broken[-500:]) if broken else self.test(mutant.tests)
        finally:
            for changed, (content, status) in before.items():
                changed.write_bytes(content)
                os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
        return Outcome(mutant, verdict, by, time.monotonic() - begun)


def attempt_all(mutants: list[Mutant], jobs: int) -> list[Outcome]:
    """Try all mutants, ``jobs`` at a time, and say each outcome as it comes."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    outcomes: list[Outcome] = []
    failures: list[BaseException] = []

    def work(folder: Path) -> None:
        try:
            bench = Bench(folder)
            while not failures:
                outcome = bench.attempt(waiting.get_nowait())
                outcomes.append(outcome)
                print(
                    f"{outcome.verdict:17} {outcome.seconds:5.0f} s  {outcome.mutant.name}", file=sys.stderr
                )
        except queue.Empty:
            pass
        except BaseException as e:
            failures.append(e)

    with tempfile.TemporaryDirectory(prefix="fastcap-mutants-") as top:
        folders = [Path(top) / str(k) for k in range(min(jobs, len(mutants)))]
        for folder in folders:
            folder.mkdir()
        threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        print(table(outcomes))
        raise failures[0]
    return sorted(outcomes, key=lambda o: mutants.index(o.mutant))


def check_unmutated(mutants: list[Mutant]) -> None:
    """Run all tests that will be used on the code as it is.

    Raises
    ------
    RuntimeError
        One fails.
    """
    tests = tuple(sorted({test for mutant in mutants for test in mutant.tests}))
    with tempfile.TemporaryDirectory(prefix="fastcap-mutants-") as top:
        argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        done = Bench(Path(top))._run(in_namespaces(argv), 10 * TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"the tests fail without a mutant:\n{done.stdout[-3000:]}")


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a Markdown table, and the count of those killed."""
    rows = ["| mutant | file | verdict | by, or why not |", "|---|---|---|---|"]
    for o in outcomes:
        rows.append(f"| {o.mutant.name} | {o.mutant.file} | {o.verdict} | {o.by or o.mutant.survives} |")
    killed = sum(o.verdict.startswith("killed") for o in outcomes)
    share = 100 * killed / len(outcomes) if outcomes else 0.0
    return "\n".join([*rows, "", f"{killed} of {len(outcomes)} killed ({share:.0f} %)"])


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Put mistakes into the code and see whether the tests notice."
    )
    parser.add_argument("names", nargs="*", help="which mutants, as shell patterns; default: all")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ci", action="store_true", help="only those marked for .ci/run")
    parser.add_argument(
        "--list", action="store_true", help="print their names, and check that each still applies"
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="do not run the tests on the unmutated code first"
    )
    options = parser.parse_args()
    try:
        mutants = [m for m in read_mutants() if (m.ci or not options.ci) and m.is_named(options.names)]
        if not mutants:
            raise ValueError(f"no mutant is named {' or '.join(options.names)}")
        if options.list:
            print("\n".join(m.name for m in mutants))
            return 0
        if not options.unchecked:
            check_unmutated(mutants)
        outcomes = attempt_all(mutants, options.jobs)
    except (ValueError, RuntimeError) as e:
        print(f"mutate: {e}", file=sys.stderr)
        return 2
    print(table(outcomes))
    return 0 if all(o.expected for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
