"""What the lab settled on, for whoever computes statistics or only names them; without numpy."""

from __future__ import annotations

TRANSIENT_WORDS = 12_000  # the board's start-up transient
SINGLE_MODE_TURNS = 100.0  # the phase's greatest range while the laser keeps to one mode
