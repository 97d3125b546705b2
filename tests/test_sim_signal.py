import numpy as np
import pytest
from board_checks import TWO_MHZ

from fastcap.words import encode, phase, radius, split_iqm

pytest_plugins = ["emulated_board"]


def test_signal_has_the_radius_asked_for_after_a_transient(emulate):
    run = emulate(
        "-q",
        "60000",
        *TWO_MHZ,
        "--speed",
        "max",
        "--radius",
        "3e6",
        "--noise",
        "1000",
        "--transient",
        "20000",
    )
    r = radius(run.words)

    assert r[20_000:].mean() == pytest.approx(3e6, rel=1e-4)
    assert r[20_000:].std() == pytest.approx(1000, rel=0.05)
    assert r[:10_000].mean() < 2.5e6


def test_signal_is_a_beat_without_jumps_that_rolls_over(emulate):
    run = emulate("-q", "1000000", *TWO_MHZ, "--speed", "max", "--freq", "400000", "--transient", "0")
    p = phase(run.words)
    steps = np.diff(p)

    assert p[-1] - p[0] == pytest.approx(200_000, rel=1e-4)
    assert steps.mean() == pytest.approx(0.2, rel=1e-4)
    assert np.abs(steps - 0.2).max() < 0.01


def test_signal_of_few_counts_never_slips_by_a_turn(emulate):
    flags = ["--freq", "2000", "--radius", "5", "--noise", "0", "--transient", "0"]
    words = emulate("-q", "100000", *TWO_MHZ, "--speed", "max", *flags).words
    i, q, _ = split_iqm(words)

    assert ((i == 0) & (q < 0)).any()
    assert np.abs(np.diff(phase(words))).max() < 0.2


@pytest.mark.parametrize("radius_counts", ["0", "3", "1000", "8388607"])
def test_signal_is_what_the_encoder_would_write(emulate, radius_counts):
    flags = ["--freq=-777777", "--noise", "2.5", "--radius", radius_counts]
    words = emulate("-q", "50000", *TWO_MHZ, "--speed", "max", *flags).words
    some = radius(words) > 0
    if radius_counts == "0":
        assert some.any()
    i, q, m = split_iqm(words)
    p = -np.arctan2(i, q) / (2 * np.pi) - m
    fits = np.abs(radius(words)) < 8_388_607

    np.testing.assert_array_equal(encode(p[some & fits], radius(words)[some & fits]), words[some & fits])


def test_seed_changes_the_noise_and_nothing_else_does(emulate):
    flags = ["-q", "5000", *TWO_MHZ, "--speed", "max"]

    assert emulate(*flags).raw[-40_000:] == emulate(*flags, "--seed", "1").raw[-40_000:]
    assert emulate(*flags).raw[-40_000:] != emulate(*flags, "--seed", "2").raw[-40_000:]


def test_lost_words_do_not_shift_the_signal(emulate):
    flags = ["-q", "20000", *TWO_MHZ, "--speed", "max"]
    whole, holed = emulate(*flags).words, emulate(*flags, "--fault", "lose@5001:777").words

    np.testing.assert_array_equal(holed[:5001], whole[:5001])
    np.testing.assert_array_equal(holed[5001 : 20_000 - 777], whole[5778:])
