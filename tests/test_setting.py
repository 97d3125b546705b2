"""A quantity is set, read back, compared, and set again where it was not taken."""

from __future__ import annotations

import pytest

from fastcap.devices.setting import Setting
from fastcap.errors import DeviceError


def setting(takes: list[float | None], attempts: int) -> tuple[Setting, list[float]]:
    """Return a setting of a device that has ``takes`` after each write, None: what was written; and what was."""
    written: list[float] = []

    def read() -> float:
        has = takes[len(written) - 1]
        return written[-1] if has is None else has

    it = Setting("x", "V", write=written.append, read=read, tolerance=0.01, attempts=attempts)
    return it, written


@pytest.mark.parametrize(
    ("takes", "writes"), [([None], 1), ([1.009], 1), ([0.991], 1), ([0.98, None], 2), ([1.02, 0.0, None], 3)]
)
def test_value_that_was_not_taken_is_set_again(takes: list[float | None], writes: int) -> None:
    it, written = setting(takes, 3)
    assert it.set(1.0) == pytest.approx(1.0, abs=0.01)
    assert written == [1.0] * writes


def test_value_that_is_never_taken_is_an_error_that_tells_both() -> None:
    it, written = setting([0.5] * 3, 3)
    with pytest.raises(DeviceError, match=r"x was set to 1 V 3 times and reads 0\.5 V"):
        it.set(1.0)
    assert written == [1.0] * 3
