"""Ask every public value of what reads files, of a file that is broken once all is opened; print what each did.

    python read_every_value.py FILE

Reads a line from standard input before the first value: the file is broken then. Run as a process of its own,
which must live to the end. Values are found by introspection: a new one is asked without being named here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fastcap as fc
from fastcap.collection import TraceSet, load_many
from fastcap.compat import VHFparser
from fastcap.decimate import phase_at, times_at
from fastcap.export import export, to_xarray
from fastcap.index import build_index
from fastcap.plot import plot_file, plot_trace
from fastcap.spectrogram import spectrogram
from fastcap.window import Window
from fastcap.windows import Windows

# What is known without a look at the words.
FACTS = {
    fc.Trace: {"from_words", "gaps", "header", "header_problem", "meta", "path", "problems", "sample_rate"}
    | {"payload", "sample_rate_hz", "start", "start_ns", "window", "words_lost"},
    Window: {"fill", "gaps", "parts", "path", "sample_rate", "sample_rate_hz", "span_words", "stretches"}
    | {"words_lost"},
    TraceSet: {
        "count",
        "index",
        "path",
        "sample_rate",
        "span_words",
        "start",
        "stretches",
        "windows",
        "words",
    },
    Windows: {"count", "index", "path"},
    VHFparser: {"logger", "update_plot_timing"},
}
BAND = {"window_s": "2ms", "band_hz": (2000, 20_000)}
ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "Trace.envelope": ((10,), {}),
    "Trace.spectrogram": ((), BAND),
    "Window.spectrogram": ((), BAND),
    "Windows.spectrogram": ((), BAND),
    "TraceSet.map": ((lambda tr: tr.radius().sum(),), {}),
    "Windows.map": ((lambda window: window.radius().sum(),), {}),
}


def values_of(thing: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield name and call of each public value of an object."""
    kind = type(thing)
    for name in sorted(name for name in dir(kind) if not name.startswith("_")):
        if name in next((facts for base, facts in FACTS.items() if issubclass(kind, base)), ()):
            continue
        args, options = ARGUMENTS.get(f"{kind.__name__}.{name}", ((), {}))
        found = getattr(kind, name)
        if callable(found):
            yield f"{kind.__name__}.{name}", lambda m=name, a=args, o=options: getattr(thing, m)(*a, **o)
        else:
            yield f"{kind.__name__}.{name}", lambda m=name: getattr(thing, m)
    if isinstance(thing, fc.Trace):
        yield "notebook", thing._repr_html_


def functions(path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what takes a trace or a file."""
    yield "phase at a rate", lambda: fc.load(path).phase(rate="20kHz")
    for ending in ("npz", "csv", "nc"):
        yield (
            f"export {ending}",
            lambda e=ending: export(fc.load(path), f"/dev/shm/none-{path.parent.name}.{e}"),
        )
    yield "to_xarray", lambda: to_xarray(fc.load(path))
    yield "plot_trace", lambda: plot_trace(fc.load(path))
    yield "plot_file", lambda: plot_file(path, f"/dev/shm/none-{path.parent.name}.png")
    yield "spectrogram", lambda: spectrogram(fc.load(path), **BAND)
    yield "phase_at", lambda: phase_at(fc.load(path), "20kHz")
    yield "index", lambda: build_index(path)


def main() -> None:
    """Open, wait until the file is broken, ask; one JSON object of name and exception, or null, is printed."""
    path = Path(sys.argv[1])
    asked = list(values_of(fc.load(path)))
    asked += [(f"{name} of a window", call) for name, call in values_of(fc.load(path).window("40ms", "50ms"))]
    asked += [(f"{name} realigned", call) for name, call in values_of(fc.load(path, realign=True))]
    many = load_many(path)
    windows = many.windows("20ms")
    for thing in (many, windows[1], windows):
        asked += values_of(thing)
    for start in (timedelta(0), timedelta(milliseconds=40)):
        parser = VHFparser(str(path), headers_only=True, plot_start_time=start)
        asked += values_of(parser)
    opened = fc.load(path)
    fc.load = lambda *args, **options: opened  # functions take what is open already
    asked += [(n, c) for n, c in functions(path) if n not in ("plot_file", "index")]
    assert times_at(opened, "20kHz").size
    print("opened", flush=True)
    sys.stdin.readline()
    found: dict[str, str | None] = {}
    for name, call in asked:
        try:
            call()
            found[name] = None
        except Exception as error:
            found[name] = " ".join(kind.__name__ for kind in type(error).__mro__) + f": {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
