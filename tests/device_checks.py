"""Deadlines and faults for tests of devices."""

from __future__ import annotations

from typing import Any

import msgspec

from fastcap.devices.voa import VOA
from fastcap.sim.hostility import HOSTILE
from fastcap.sim.voa import Attenuator

QUICK: dict[str, Any] = {"timeout_s": 0.05, "latest_s": 0.2, "quiet_s": 0.02}
PATIENT: dict[str, Any] = {"timeout_s": 2.0, "latest_s": 2.0, "quiet_s": 0.02}  # of a device that is not late
LATE_S = (0.02, 0.15)  # some within the time-out, some not, none after the silence that ends waiting
HARD = msgspec.structs.replace(HOSTILE, late_s=LATE_S)

Pair = tuple[Attenuator, VOA]
