"""The estimate of the board's own losses, against simulated boards whose losses are known."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastcap.clock import MAX_SAMPLES, ClockEstimate, ClockRecorder, estimate, least_late

RATE_HZ = 2_000_000
NOMINAL = Fraction(RATE_HZ)
MS_WORDS = RATE_HZ // 1000
DETECTABLE = 3 * MS_WORDS

Loss = tuple[float, int]  # when, words; they go missing in the time they would have taken
Stall = tuple[float, float, float]  # when, for how long, seconds caught up per second afterwards


def board(
    duration_s: float,
    *,
    drift_ppm: float = 0.0,
    losses: Sequence[Loss] = (),
    stalls: Sequence[Stall] = (),
    jitter_s: float = 2e-4,
    rate_hz: int = RATE_HZ,
    tick_s: float = 0.25,
    wander_s: Callable[[float], float] = lambda t: 0.0,
    seed: int = 1,
) -> ClockRecorder:
    """Return what a recorder saw of a board: arrivals never early, late by jitter and by stalls."""
    chance = random.Random(seed)
    true_rate_hz = rate_hz * (1 + drift_ppm * 1e-6)
    recorder = ClockRecorder()
    times = sorted(losses)
    starts = [at for at, _ in times]
    for k in range(1, int(duration_s / tick_s) + 1):
        t = (k + chance.uniform(-0.2, 0.2)) * tick_s
        late = chance.expovariate(1 / jitter_s)
        for at, lasts, catch_up in stalls:
            late += min(max(0.0, t - at), max(0.0, lasts - max(0.0, t - at - lasts) * catch_up))
        sampled_s = t - late + wander_s(t)
        before = times[: bisect_right(starts, sampled_s)]
        lost = sum(min((sampled_s - at) * true_rate_hz, words) for at, words in before)
        recorder.add(10**15 + int(t * 1e9), max(0, int(sampled_s * true_rate_hz - lost)))
    return recorder


def lost_words(recorder: ClockRecorder, nominal: Fraction = NOMINAL) -> int:
    lost = recorder.estimate(nominal).estimated_words_lost
    assert lost is not None
    return lost


@settings(max_examples=40, deadline=None)
@given(
    duration_s=st.floats(2.5, 120),
    drift_ppm=st.floats(-100, 100),
    jitter_s=st.sampled_from([1e-6, 1e-4, 1e-3, 5e-3]),
    seed=st.integers(0, 1000),
)
def test_drift_and_jitter_are_no_losses(
    duration_s: float, drift_ppm: float, jitter_s: float, seed: int
) -> None:
    assert lost_words(board(duration_s, drift_ppm=drift_ppm, jitter_s=jitter_s, seed=seed)) == 0


@settings(max_examples=40, deadline=None)
@given(
    at=st.floats(1.0, 28.0),
    words=st.integers(int(1.3 * DETECTABLE), 3_000_000),
    drift_ppm=st.floats(-100, 100),
    seed=st.integers(0, 1000),
)
def test_a_loss_is_found_to_within_the_stated_words(
    at: float, words: int, drift_ppm: float, seed: int
) -> None:
    recorder = board(30 + words / RATE_HZ, losses=[(at, words)], drift_ppm=drift_ppm, seed=seed)
    found = recorder.estimate(NOMINAL)

    assert found.detectable_words == DETECTABLE
    assert found.estimated_words_lost == pytest.approx(words, abs=DETECTABLE)


@settings(max_examples=20, deadline=None)
@given(
    losses=st.lists(st.integers(2 * DETECTABLE, 200_000), min_size=2, max_size=8),
    drift_ppm=st.floats(-100, 100),
    seed=st.integers(0, 1000),
)
def test_several_losses_add_up(losses: list[int], drift_ppm: float, seed: int) -> None:
    placed = [(5.0 + 12 * k, words) for k, words in enumerate(losses)]
    recorder = board(12.0 * len(losses) + 10, losses=placed, drift_ppm=drift_ppm, seed=seed)

    assert lost_words(recorder) == pytest.approx(sum(losses), abs=DETECTABLE)


@settings(max_examples=40, deadline=None)
@given(
    at=st.floats(2.0, 20.0),
    lasts=st.floats(0.01, 10.0),
    catch_up=st.sampled_from([0.5, 1.0, 10.0, 1000.0]),
    drift_ppm=st.floats(-30, 30),
)
@example(at=4.0, lasts=3.0, catch_up=0.5, drift_ppm=0.0)
def test_a_stall_that_is_caught_up_is_no_loss(
    at: float, lasts: float, catch_up: float, drift_ppm: float
) -> None:
    recorder = board(at + lasts + lasts / catch_up + 5, stalls=[(at, lasts, catch_up)], drift_ppm=drift_ppm)

    assert lost_words(recorder) == 0


def test_a_delay_beyond_the_horizon_that_is_made_up_for_at_last_is_no_loss() -> None:
    assert lost_words(board(900, stalls=[(100, 5, 0.01)], drift_ppm=-100)) == 0


def test_a_loss_during_a_stall_is_told_from_the_stall() -> None:
    recorder = board(60, stalls=[(20, 4, 2)], losses=[(22, 50_000)], drift_ppm=60)

    assert lost_words(recorder) == pytest.approx(50_000, abs=DETECTABLE)


def test_losing_all_the_time_is_more_than_a_crystal_can_be_off() -> None:
    # 50 words in every 10,000
    recorder = board(60, losses=[(0.005 * k, 50) for k in range(12_000)])

    found = recorder.estimate(NOMINAL)

    assert found.drift_ppm == pytest.approx(-5000, rel=0.02)
    assert found.estimated_words_lost == pytest.approx(600_000, rel=0.03)


@pytest.mark.parametrize("drift_ppm", [-100, 0, 100])
def test_a_day_with_two_losses_a_wandering_crystal_and_a_stall(drift_ppm: float) -> None:
    recorder = board(
        86_400,
        drift_ppm=drift_ppm,
        losses=[(40_000, 10_000), (80_000, 20_000)],
        stalls=[(60_000, 20, 10)],
        wander_s=lambda t: 0.02 * math.sin(t / 7200),
    )

    assert len(recorder) <= MAX_SAMPLES
    assert lost_words(recorder) == pytest.approx(30_000, abs=DETECTABLE)


def test_a_day_without_losses_has_none() -> None:
    assert lost_words(board(86_400, drift_ppm=-100, wander_s=lambda t: 0.02 * math.sin(t / 7200))) == 0


def test_a_loss_just_before_the_end_of_a_long_capture_is_still_seen() -> None:
    recorder = board(40_000, losses=[(39_997, 50_000)], drift_ppm=80)

    assert lost_words(recorder) == pytest.approx(50_000, abs=DETECTABLE)


def test_a_loss_just_before_the_recorder_thins_is_still_seen() -> None:
    recorder = ClockRecorder()
    for k in range(MAX_SAMPLES + 1):
        recorder.add(250_000_000 * k, RATE_HZ * k // 4 - (50_000 if k > MAX_SAMPLES - 3 else 0))

    assert len(recorder) < MAX_SAMPLES
    assert lost_words(recorder) == pytest.approx(50_000, abs=DETECTABLE)


@pytest.mark.parametrize("lost", [0, 40_000])
def test_a_busy_machine_that_is_late_every_other_second_adds_up_to_nothing(lost: int) -> None:
    stalls = [(4.0 * k, 0.02, 0.012) for k in range(1, 500)]  # 20 ms late, made up for within 1.7 s
    recorder = board(2010, stalls=stalls, losses=[(1000, lost)])

    assert lost_words(recorder) == pytest.approx(lost, abs=DETECTABLE if lost else 0)


def test_the_rest_of_a_loss_that_spans_two_windows_is_counted_with_it() -> None:
    recorder = board(30, losses=[(10.05, 8000), (10.3, 3000)], jitter_s=1e-6)

    assert lost_words(recorder) == pytest.approx(11_000, abs=500)


def test_a_last_arrival_that_is_late_is_no_loss() -> None:
    # nothing comes after it that could tell
    assert lost_words(board(20, stalls=[(19.6, 1, 1)])) == 0


@pytest.mark.parametrize("words", [50_000, 100_000])
def test_a_loss_that_nothing_comes_after_to_tell_is_below_what_is_detectable(words: int) -> None:
    found = board(20, losses=[(19.6, words)]).estimate(NOMINAL)

    assert found.estimated_words_lost == 0
    assert found.detectable_words is not None
    assert words - DETECTABLE < found.detectable_words < words + DETECTABLE


@pytest.mark.parametrize("rate_hz", [Fraction(10_000_000), Fraction(10_000_000, 3), Fraction(20_000)])
def test_detectable_words_follow_the_rate(rate_hz: Fraction) -> None:
    words = int(rate_hz // 50)
    found = board(60, rate_hz=int(rate_hz), losses=[(30, words)]).estimate(rate_hz)

    assert found.detectable_words == round(rate_hz * 3 / 1000)
    assert found.estimated_words_lost == pytest.approx(words, abs=found.detectable_words)


def test_detectable_words_follow_the_jitter() -> None:
    detectable = board(120, jitter_s=5e-3).estimate(NOMINAL).detectable_words

    assert detectable is not None
    assert 3 * DETECTABLE < detectable < 15 * DETECTABLE


@pytest.mark.parametrize("drift_ppm", [-100, -3, 0, 40, 100])
def test_rate_and_drift_are_measured(drift_ppm: float) -> None:
    found = board(300, drift_ppm=drift_ppm).estimate(NOMINAL)

    assert found.drift_ppm == pytest.approx(drift_ppm, abs=3)
    assert found.rate_hz == pytest.approx(RATE_HZ * (1 + drift_ppm * 1e-6), abs=6)


def test_a_rate_that_is_no_whole_number_is_exact_over_a_day() -> None:
    nominal = Fraction(20_000_000, 3)
    samples = [(250_000_000 * k, int(nominal * k / 4)) for k in range(345_600)]

    found = estimate(samples, nominal)

    assert found.drift_ppm == pytest.approx(0, abs=0.01)
    assert found.estimated_words_lost == 0


def test_a_source_faster_than_its_rate_follows_no_clock() -> None:
    found = board(10, drift_ppm=5000).estimate(NOMINAL)

    assert found.drift_ppm == pytest.approx(5000, abs=100)
    assert (found.estimated_words_lost, found.detectable_words) == (None, None)


@pytest.mark.parametrize("duration_s", [0.0, 0.25, 0.9])
def test_a_capture_too_short_to_tell_tells_nothing(duration_s: float) -> None:
    assert board(duration_s, tick_s=0.1).estimate(NOMINAL) == ClockEstimate(None, None, None, None)


def test_arrivals_closer_than_a_window_are_taken_together() -> None:
    often, seldom = board(30, tick_s=0.01, losses=[(10, 40_000)]), board(30, losses=[(10, 40_000)])

    assert lost_words(often) == pytest.approx(lost_words(seldom), abs=DETECTABLE / 2)


def test_arrivals_that_say_nothing_new_are_left_out() -> None:
    recorder = ClockRecorder()
    for t_ns, words in [(10, 5), (10, 6), (9, 7), (11, 4), (12, 5)]:
        recorder.add(t_ns, words)

    assert len(recorder) == 2


def test_of_each_window_the_least_late_arrival_is_kept() -> None:
    rate_hz = Fraction(1000)  # a word a millisecond
    samples = [(0, 0), (90_000_000, 80), (95_000_000, 94), (99_000_000, 95), (130_000_000, 100)]

    assert least_late(samples, rate_hz, 100_000_000) == [(0, 0), (130_000_000, 100)]
    assert least_late(samples[1:], rate_hz, 20_000_000) == [(95_000_000, 94), (130_000_000, 100)]


def test_nothing_is_imported_that_a_worker_need_not_have() -> None:
    import subprocess
    import sys

    code = "import sys, fastcap.clock; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
