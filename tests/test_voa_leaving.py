"""How an attenuator is left: as the user chose, after errors and Ctrl-C too."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device_checks import QUICK, Pair

import fastcap as fc
from fastcap.sim.tie import Tie

pytest_plugins = ["attenuators"]
Make = Callable[..., Pair]

SCRIPT = """
import sys, signal, fastcap as fc
with fc.VOA(f"sim://voa?name={sys.argv[1]}", at_exit="zero", timeout_s=0.05) as voa:
    voa.channel(0).volt = 2.0
    print("ready", flush=True)
    while True:
        voa.channel(0).volt.get()
"""


def outputs(pair: Pair) -> list[float]:
    return [pair[0].device.output_v(k) for k in range(4)]


@pytest.mark.parametrize(
    ("at_exit", "left"),
    [
        ("hold", [1, 2, 3, 0.5]),
        ("zero", [0, 0, 0, 0]),
        (2.5, [2.5, 2.5, 2.5, 2.5]),
        ({1: 4.0, 3: 0}, [1, 4, 3, 0]),
    ],
)
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_it_is_left_as_chosen(attenuator: Make, at_exit: Any, left: list[float], error: Any) -> None:
    pair = attenuator(at_exit=at_exit)

    def use() -> None:
        with pair[1] as voa:
            for channel, volts in enumerate((1, 2, 3, 0.5)):
                voa.channel(channel).volt = volts
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()

    assert outputs(pair) == left


@pytest.mark.parametrize("at_exit", ["off", 5.0, float("nan"), {4: 1.0}, {0: -1}])
def test_state_that_cannot_be_is_refused_before_the_port_is_opened(at_exit: Any) -> None:
    with pytest.raises(ValueError, match=r"at_exit|volt"):
        fc.VOA("/dev/no-such-port", at_exit=at_exit)


def test_device_that_is_gone_at_the_end_is_an_error_that_says_so(attenuator: Make) -> None:
    emulator, voa = attenuator(at_exit={0: 0, 2: 0})

    def use() -> None:
        with voa:
            emulator.unplug()
            raise RuntimeError("the user's own")

    with pytest.raises(fc.DeviceError, match=r"left with channel 0 at 0 V .*; channel 2 at 0 V ") as caught:
        use()

    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("signals", [1, 5])
def test_ctrl_c_leaves_it_as_chosen_however_often(tmp_path: Path, signals: int) -> None:
    name = str(tmp_path / "x.tie")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert b"KeyboardInterrupt" in err
    assert b"DeviceError" not in err
    tie = Tie(name)
    assert tie.load()["now"]["codes"][0] == 0
    tie.close()


def test_interrupted_exchange_is_not_answered_for_the_next_one(attenuator: Make) -> None:
    """An interrupt comes between question and answer; the answer must not be the next question's."""
    _, voa = attenuator()
    voa.channel(0).volt = 1.0
    voa.channel(1).volt = 2.0
    dialogue = voa._dialogue
    dialogue._get_in_step()
    dialogue._in_step = False
    dialogue._lines.send("VOLT? 0")  # and then the interrupt

    assert voa.channel(1).volt.get() == 2.0


def test_nothing_is_left_of_an_emulated_port(attenuator: Make) -> None:
    with fc.VOA("sim://voa", **QUICK) as voa:
        path = Path(voa._emulator.path)
        assert path.exists()
    assert not path.exists()
    assert not path.parent.exists()
