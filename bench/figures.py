"""Print fastcap's figures, each by a command: ``python bench/figures.py tee``; ``all`` prints every one.

Needs an installed fastcap (or PYTHONPATH=src with the extensions built) and a C compiler.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import cost
import decoding
import delays
import direct
import live
import losses
import plotting
import reading
import rings
import stalls
import sweeping
import table
import throughput
import voa_cycles
from setting import Figure, machine


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--to", metavar="DIR", help="where files are recorded (default: the temporary directory)"
    )
    parser.add_argument(
        "--keep", metavar="FILE", help="append the run to a file such as results.jsonl: see table.py"
    )
    commands = parser.add_subparsers(dest="what", required=True)
    stall = commands.add_parser("stall", help="a destination that stalls: nothing lost, every word as sent")
    stall.add_argument("--rate", choices=list(losses.CASES), action="append", help="default: each")
    stall.add_argument("--scale", type=float, default=1.0, help="shorten recording and stall by this factor")
    tee = commands.add_parser("tee", help="fastcap tee beside tee and mbuffer")
    stream = commands.add_parser("stream", help="board.stream summed by numpy in place")
    dd = commands.add_parser("dd", help="capture to tmpfs beside dd")
    for command in (tee, stream, dd):
        command.add_argument("--gib", type=float, default=4.0)
        command.add_argument("--rounds", type=int, default=7)
    ring = commands.add_parser(
        "ring", help="processes that read what another fills, with the ring and without"
    )
    ring.add_argument("--gib", type=float, default=4.0)
    ring.add_argument("--rounds", type=int, default=7)
    wake = commands.add_parser("wake", help="from publication to the consumer running")
    wake.add_argument("--count", type=int, default=5000)
    nas = commands.add_parser("nas", help="what bench nas finds of injected stalls; needs FUSE")
    nas.add_argument("--seconds", type=float, default=20.0)
    past = commands.add_parser("direct", help="O_DIRECT beside the page cache; needs root, FUSE, sshfs")
    past.add_argument("--mib", type=int, default=512)
    past.add_argument("--rounds", type=int, default=3)
    cpu = commands.add_parser("cpu", help="CPU time and private memory at 2 MHz")
    cpu.add_argument("--seconds", type=float, default=10.0)
    commands.add_parser("live", help="CPU time of live statistics at 2 and 10 MHz").add_argument(
        "--seconds", type=float, default=10.0
    )
    latency = commands.add_parser("latency", help="from the source's write to the block")
    latency.add_argument("--seconds", type=float, default=10.0)
    latency.add_argument("--block-words", type=int, default=4096)
    commands.add_parser("startup", help="exec to first byte; import").add_argument(
        "--rounds", type=int, default=7
    )
    commands.add_parser("decode", help="phase and radius beside numpy; the index kernel").add_argument(
        "--rounds", type=int, default=9
    )
    replace = commands.add_parser("replace", help="killed readers")
    replace.add_argument("--kills", type=int, default=200)
    replace.add_argument("--rate", default="10MHz")
    replace.add_argument("--seed", type=int, default=1)
    read = commands.add_parser("reading", help="opening, windows of long files, the index pass")
    read.add_argument("--gib", type=float, default=2.0)
    read.add_argument("--rounds", type=int, default=7)
    plot = commands.add_parser("plot", help="pictures of ten seconds and of ten hours")
    plot.add_argument("--rounds", type=int, default=5)
    plot.add_argument("--pictures", metavar="DIR", help="leave the pictures there")
    voa = commands.add_parser("voa", help="the attenuator's driver against a hostile emulator")
    voa.add_argument("--cycles", type=int, default=10_000)
    voa.add_argument("--seed", type=int, default=1)
    sweep = commands.add_parser("sweep", help="time between points, a slow destination, a killed controller")
    sweep.add_argument("--points", type=int, default=200)
    sweep.add_argument("--seconds", type=float, default=1.0)
    sweep.add_argument("--kills", type=int, default=20)
    sweep.add_argument("--seed", type=int, default=1)
    commands.add_parser("all", help="every one, with its defaults; takes about fifteen minutes")
    return parser


def measure(given: argparse.Namespace) -> Iterable[Figure]:
    """Return the figures of one subcommand."""
    if given.what == "stall":
        return chain.from_iterable(losses.stall(r, given.scale, given.to) for r in given.rate or losses.CASES)
    if given.what == "tee":
        return throughput.tee(given.gib, given.rounds)
    if given.what == "stream":
        return throughput.stream(given.gib, given.rounds)
    if given.what == "dd":
        return throughput.dd(given.gib, given.rounds)
    if given.what == "direct":
        return direct.direct(given.mib, given.rounds)
    if given.what == "ring":
        return rings.ring(given.gib, given.rounds)
    if given.what == "nas":
        return stalls.nas(given.seconds)
    if given.what == "wake":
        return rings.wake(given.count)
    if given.what == "cpu":
        return cost.cpu(given.seconds, given.to)
    if given.what == "live":
        return live.live(given.seconds, given.to)
    if given.what == "latency":
        return delays.latency(given.seconds, given.block_words)
    if given.what == "startup":
        return delays.startup(given.rounds, given.to)
    if given.what == "replace":
        return losses.replace(given.rate, given.kills, given.seed)
    if given.what == "decode":
        return decoding.decode(given.rounds)
    if given.what == "reading":
        return reading.reading(given.gib, given.rounds, given.to)
    if given.what == "plot":
        return plotting.pictures(given.rounds, given.pictures)
    if given.what == "sweep":
        return sweeping.sweep(given.points, given.seconds, given.kills, given.seed, given.to)
    if given.what == "voa":
        return voa_cycles.cycles(given.cycles, given.seed)
    return _all(given.to)


def _all(to: str | None) -> Iterator[Figure]:
    place = [] if to is None else ["--to", to]
    for what in (
        "startup",
        "latency",
        "cpu",
        "live",
        "ring",
        "wake",
        "tee",
        "stream",
        "reading",
        "plot",
        "replace",
        "stall",
    ):
        yield from measure(_parser().parse_args([*place, what]))


def main() -> int:
    """Measure, print; 1 if a figure misses its target."""
    given = _parser().parse_args()
    facts = machine()
    if not given.json:
        for key, value in facts.items():
            print(f"{key:8} {value}", flush=True)
    found = []
    for f in measure(given):
        found.append(f)
        if not given.json:
            mark = {True: "ok", False: "MISSED", None: ""}[f["ok"]]
            target = f"({f['target']})" if f["target"] else ""
            text = f"{f['figure']:50} {f['value']:>10} {f['unit']:12} {target:9} {mark:6} {f['detail']}"
            print(text.rstrip(), flush=True)
    if given.json:
        print(json.dumps({**facts, "figures": found}))
    if given.keep:
        table.keep(Path(given.keep), given.what, facts, found)
    return int(any(f["ok"] is False for f in found))


if __name__ == "__main__":
    raise SystemExit(main())
