"""What a bench has found, put together from what was asked, what its writer said, and what its calls came to."""

from __future__ import annotations

import socket

import msgspec

import fastcap
from fastcap._ring import now_ns
from fastcap.nasbench.judge import Evidence, fits, unseen
from fastcap.nasbench.model import Cpu, Fit, Mount, NasBench
from fastcap.nasbench.replay import MARGIN, recommended
from fastcap.nasbench.tally import Tally
from fastcap.units import format_duration, format_size
from fastcap.wire import Message
from fastcap.workers.calls import STALL_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.nasbench.run import Request


def of_worst(found: list[NasBench]) -> NasBench:
    """Return the figures of the writer that fared worst."""
    order = ("no", "unknown", "yes", None)
    worst = min(
        found, key=lambda b: (order.index(b.verdict), b.rate_bytes_per_s, -(b.ring_needed_bytes or 0))
    )
    rate = sum(bench.rate_bytes_per_s for bench in found)
    return msgspec.structs.replace(worst, writers=len(found), all_bytes_per_s=rate)


def evidence_of(request: Request, begun: Message, tally: Tally) -> Evidence:
    """Return what the verdicts rest on, once the bench is over."""
    return Evidence(
        asked=request.rate, every=request.every, seconds=tally.seconds, trace=tally.trace(begun["made_ns"] * 1e-9),
        saturated=tally.saturated(), errors=tally.troubles.told, ongoing=tally.ongoing, rising=tally.lows.rising,
        new_bytes=min(tally.durable, begun["span_bytes"]), went_round=tally.durable > begun["span_bytes"],
        free_bytes=_share(begun.get("free_at_end", begun["free_bytes"]), request.writers), elsewhere=begun["elsewhere"],
    )  # fmt: skip


def result_of(request: Request, begun: Message, tally: Tally, started: str, *, interrupted: bool) -> NasBench:
    """Put together what was found."""
    offer, evidence = tally.offer, evidence_of(request, begun, tally)
    observed_s = (min(now_ns(), offer.end_ns) - offer.start_ns) * 1e-9
    durable_s = max(observed_s, (tally.durable_ns - offer.start_ns) * 1e-9)
    durable = tally.durable if request.rate is None else min(tally.durable, offer.total)
    found = fits(evidence)
    asked = next((fit for fit in found if fit.measured), None)
    needed = None if asked is None else asked.ring_needed_bytes or tally.peak_bytes
    return NasBench(
        directory=request.directory, started=started, observed_s=round(observed_s, 6),
        asked_bytes_per_s=request.rate, rate_bytes_per_s=durable / durable_s if durable_s > 0 else 0.0,
        bytes=tally.bytes, span_bytes=begun["span_bytes"], block_bytes=request.block,
        fsync_every_bytes=request.every, write_s=tally.latencies("write"), fsync_s=tally.latencies("fsync"),
        stalls=tally.stalls, ring_needed_bytes=needed, ring_recommended_bytes=_recommended(asked, request.every),
        margin=MARGIN, fits=found, timeline=tally.timeline(), mount=msgspec.convert(begun["mount"], Mount | None),
        warnings=[*begun["warnings"], *_warnings(request, begun, tally)], errors=tally.troubles.told,
        interrupted=interrupted, host=socket.gethostname(), fastcap=fastcap.__version__,
        verdict=None if asked is None else asked.verdict,
        delay_s=None if request.rate is None else tally.latencies("delay"), saturated=evidence.saturated,
        new_bytes=evidence.new_bytes, free_bytes=evidence.free_bytes, unseen=unseen(evidence), trace=evidence.trace,
        cpu=_cpu(begun, tally), direct=request.direct, stalls_in_all=tally.stalls_in_all,
        stalled_s=round(tally.stalled_s, 6), hours=tally.hours(),
    )  # fmt: skip


def _share(free_bytes: int | None, writers: int) -> int | None:
    """Return what of the free room is one writer's."""
    return None if free_bytes is None else free_bytes // writers


def _cpu(begun: Message, tally: Tally) -> Cpu | None:
    """Return what writing cost; None: the writer is still in a call."""
    if "cpu_s" not in begun:
        return None
    user_s, system_s = begun["cpu_s"]
    return Cpu(user_s, system_s, tally.all_bytes, tally.seconds)


def _recommended(asked: Fit | None, every: int | None) -> int | None:
    """Return the ring to use, None where none would do."""
    if asked is None or asked.ring_needed_bytes is None or asked.verdict == "no":
        return None
    return recommended(asked.ring_needed_bytes, every)


def _warnings(request: Request, begun: Message, tally: Tally) -> list[str]:
    """Return what should be known when reading the figures."""
    found = []
    if tally.durable > begun["span_bytes"]:
        span = format_size(begun["span_bytes"])
        why = "" if request.span is not None else f", for only {format_size(begun['free_bytes'])} are free"
        found.append(
            f"writes went round within {span}{why}: blocks were written over, where a capture takes new ones"
        )
    elif tally.saturation is not None and tally.durable + request.block > begun["span_bytes"]:
        half, free = format_size(begun["span_bytes"]), format_size(begun["free_bytes"])
        found.append(f"only {free} are free: writing as fast as it goes ended when {half} were written")
    if begun["made_ns"] >= STALL_NS:
        made_s = begun["made_ns"] * 1e-9
        arrives = "" if request.rate is None else f": {format_size(int(request.rate * made_s))} in its ring"
        took = f"making the file took {format_duration(made_s)}"
        found.append(f"{took}; a capture's source would have run meanwhile{arrives}")
    if begun["left"] is not None:
        found.append(f"{begun['left']} is still there: remove it when the destination answers")
    if begun["elsewhere"]:
        found.append(
            f"{request.directory} was unmounted, removed or replaced meanwhile: all this is of what was there"
        )
    if begun["removed"]:
        found.append(f"{begun['removed']} file(s) of benches that were killed have been removed")
    if any(stall.ongoing for stall in tally.stalls):
        found.append(
            "a call had not returned at the end: that stall is longer, and so may be the ring needed"
        )
    return found
