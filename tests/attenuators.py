"""A plugin for tests of devices: emulated attenuators on real pseudo-terminals, and drivers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from device_checks import PATIENT, QUICK, Pair

from fastcap.devices.voa import VOA
from fastcap.sim.voa import Attenuator


@pytest.fixture
def attenuator() -> Iterator[Callable[..., Pair]]:
    """Make an emulator and a driver that has it open: ``attenuator(line_end=b"\\r\\n", at_exit="zero")``."""
    with ExitStack() as stack:

        def make(at_exit: Any = "hold", **options: Any) -> Pair:
            driver = {
                key: options.pop(key)
                for key in list(options)
                if key in ("calibration", "log", "identity", "timeout_s")
            }
            if "says" in options:
                options["identity"] = options.pop("says")
            emulator = stack.enter_context(Attenuator(**options))
            usual = QUICK if "hostility" in options else PATIENT
            voa = VOA(emulator.path, at_exit=at_exit, **{**usual, **driver})
            stack.callback(voa.close)
            return emulator, voa

        yield make
