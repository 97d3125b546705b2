"""fastcap: lossless capture from a fast instrument to a slow network disk.

Public names are loaded on first use: importing the package is quick and starts nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

_HOMES = {
    "blocks": ("ArrivedBlock", "Blocks"),
    "board": ("Board", "Capture", "open"),
    "collection": ("TraceSet", "load_many"),
    "devices.command": ("Command",),
    "devices.laser": ("Laser",),
    "devices.scpi": ("SCPI",),
    "devices.setting": ("Setting",),
    "devices.voa": ("VOA",),
    "errors": (
        "ConfigError", "DeviceError", "FastcapError", "OverrunError", "RingError", "SinkError", "SourceError",
        "StreamFormatError", "SweepError", "WorkerError",
    ),
    "live": ("Block", "Stream"),
    "model": ("Report",),
    "nasbench.run": ("bench_nas",),
    "stats": ("TraceStats",),
    "sweeping.run": ("Axis", "Results", "linspace", "load_sweep", "sweep", "updown"),
    "trace": ("Trace", "load"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [
    "SCPI",
    "VOA",
    "ArrivedBlock",
    "Axis",
    "Block",
    "Blocks",
    "Board",
    "Capture",
    "Command",
    "ConfigError",
    "DeviceError",
    "FastcapError",
    "Laser",
    "OverrunError",
    "Report",
    "Results",
    "RingError",
    "Setting",
    "SinkError",
    "SourceError",
    "Stream",
    "StreamFormatError",
    "SweepError",
    "Trace",
    "TraceSet",
    "TraceStats",
    "WorkerError",
    "__version__",
    "bench_nas",
    "linspace",
    "load",
    "load_many",
    "load_sweep",
    "open",
    "sweep",
    "updown",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.blocks import ArrivedBlock, Blocks
    from fastcap.board import Board, Capture, open
    from fastcap.collection import TraceSet, load_many
    from fastcap.devices.command import Command
    from fastcap.devices.laser import Laser
    from fastcap.devices.scpi import SCPI
    from fastcap.devices.setting import Setting
    from fastcap.devices.voa import VOA
    from fastcap.errors import (
        ConfigError,
        DeviceError,
        FastcapError,
        OverrunError,
        RingError,
        SinkError,
        SourceError,
        StreamFormatError,
        SweepError,
        WorkerError,
    )
    from fastcap.live import Block, Stream
    from fastcap.model import Report
    from fastcap.nasbench.run import bench_nas
    from fastcap.stats import TraceStats
    from fastcap.sweeping.run import Axis, Results, linspace, load_sweep, sweep, updown
    from fastcap.trace import Trace, load


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastcap' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(f"fastcap.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
