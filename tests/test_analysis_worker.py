"""The live words of the analysis process: statistics, losses, deaths."""

import signal

import numpy as np
import pytest
from analysis_session import DEADLINE_S, HEADER, MIB, check, record, spiral

from fastcap._ring import ESSENTIAL, LOSSLESS, Slot
from fastcap.events import GAP, Event, EventReader
from fastcap.words import phase, radius
from fastcap.workers.live_words import LiveWords

pytest_plugins = ("analysis_fixtures",)


def test_statistics_are_numpys_of_the_whole_recording(shared):
    words = spiral(200_000)
    record(shared, words, skip_words=12_000)
    result = shared.result()

    check(result, words[12_000:], phase(words)[12_000:])
    assert (result["words"], result["skipped_words"]) == (200_000, 12_000)
    assert (result["missed_words"], result["lossless"], result["function"]) == (0, True, None)


def test_a_long_recording_in_odd_writes_loses_nothing(shared):
    words = spiral(1_000_000)  # twice the ring
    data = HEADER + words.tobytes() + b"odd"
    slot = shared.analyse()
    shared.begin()
    for at in range(0, len(data), 99_999):
        shared.write_paced(data[at : at + 99_999], slot)
    assert shared.finish()["odd_bytes"] == 3
    result = shared.result()

    check(result, words, phase(words))
    assert (result["missed_words"], result["lossless"]) == (0, True)


@pytest.mark.parametrize("header", ["no", "auto"])
def test_a_stream_without_header_begins_with_its_first_word(shared, header):
    words = np.arange(1, 50_001, dtype=np.uint64) << np.uint64(7)
    record(shared, words, header)

    check(shared.result(), words, phase(words))


@pytest.mark.parametrize("content", [b"", HEADER, HEADER[:20], HEADER + b"abc"])
def test_a_recording_without_words_has_no_statistics(shared, content):
    shared.analyse()
    shared.begin()
    shared.write(content)
    shared.finish()
    result = shared.result()

    words = 2 if content == HEADER[:20] else 0  # torn: no header, hence words
    assert (result["words"], result["missed_words"]) == (words, 0)
    assert words or result["radius"]["mean"] is None


def test_live_statistics_come_while_the_recording_runs(shared):
    words = spiral(10_000)
    shared.analyse()
    shared.begin()
    shared.write(HEADER + words.tobytes())
    while (live := shared.analysis.expect("live"))["stats"]["words"] < len(words):
        assert live["recording"] == shared.number

    assert live["stats"]["radius_mean"] == pytest.approx(radius(words).mean())
    assert live["stats"]["missed_words"] == 0
    shared.finish()
    assert shared.result()["words"] == len(words)


def test_a_cancelled_recording_gives_its_slot_back(shared):
    slot = shared.analyse()
    shared.tell(shared.analysis, {"op": "cancel", "recording": shared.number + 1})
    message = shared.analysis.expect("analysis")

    assert message == {"op": "analysis", "recording": shared.number + 1, "result": {"cancelled": True}}
    shared.until(lambda: shared.ring.slot_state(slot)["state"] == "FREE")


def test_words_that_the_reader_dropped_are_gaps_for_the_statistics(start):
    session = start(2 * MIB)
    record(session, spiral(10))
    session.result()  # numpy is imported by now
    hog = Slot.claim(session.ring, LOSSLESS | ESSENTIAL)
    slot = session.analyse(skip_words=262_244)  # the ring's 262,144 words, and some that will be lost
    session.begin()
    data = np.arange(700_000, dtype=np.uint64)

    def caught_up():
        return session.ring.slot_state(slot)["cursor"] == session.ring.framed

    session.write_paced(HEADER + data[:230_000].tobytes())
    session.until(caught_up)
    session.analysis.stop_now()  # so that a block will reach beyond the gap
    session.write(data[230_000:400_000].tobytes())
    session.until(lambda: session.ring.reader_state()["dropped_bytes"] > 0)
    hog.leave()
    session.until(lambda: session.ring.head - session.ring.tail <= session.ring.capacity * 3 // 4)
    session.write_paced(data[400_000:500_000].tobytes())
    session.analysis.process.send_signal(signal.SIGCONT)
    session.write_paced(data[500_000:].tobytes(), slot)
    ended = session.finish()
    result = session.result()

    gaps = [e.data for e in EventReader(session.ring).poll() if e.kind == GAP]
    lost = [k for gap in gaps for k in range(gap["after_word"], gap["after_word"] + gap["words"])]
    kept = np.delete(data, lost)
    assert (result["words"], result["missed_words"]) == (ended["words"], 0)
    assert len(lost) == ended["words_lost"] > 0
    check(result, kept[kept >= 262_244], phase(kept)[kept >= 262_244])


class _Edge:
    """A ring and a slot whose memory is given up while it is used."""

    capacity, events, events_from, lossless, cursor = 64 * MIB, 0, 0, False, 0

    def __init__(self):
        self.tail, self.framed, self.looked_at, self.passes = 0, 48 * MIB, [], True

    def wait(self, *_):
        return self.framed

    def view(self, position, size):
        self.looked_at.append(position - self.tail)
        return bytes(size)

    def still_valid(self, position):
        if self.passes:
            self.tail, self.framed = position + 8, position + 8 + 48 * MIB
        return not self.passes

    def missed(self, size):
        pass

    advance = missed


def test_an_analysis_that_is_passed_at_once_keeps_more_distance_each_time():
    edge = _Edge()
    live = LiveWords(edge, edge, 1, skip_words=0, hold=False)
    live.start, live._begin, live._position = Event(1, 0, 1, 0, b""), 0, 0
    for _ in range(8):
        live.step()

    assert edge.looked_at == [0, 0, *(min(2 * MIB << k, 24 * MIB) for k in range(6))]
    assert live.missed_words * 8 == live._position
    edge.passes = False
    live.step()
    edge.passes = True
    live.step()
    assert live._position == edge.tail  # after a good block there is no need for distance


def test_a_stopped_analysis_is_made_lossy_and_counts_what_it_missed(start):
    session = start(2 * MIB)
    slot = session.analyse(hold=False)
    session.begin()
    words = np.random.default_rng(5).integers(0, 2**63, 1_500_000).astype(np.uint64)
    session.write(HEADER + words[:50_000].tobytes())
    seen_upto = session.start + len(HEADER) + 50_000 * 8
    session.until(lambda: session.ring.slot_state(slot)["cursor"] == seen_upto)
    session.analysis.stop_now()
    session.write_paced(words[50_000:].tobytes())
    ended = session.finish()
    assert not session.ring.slot_state(slot)["lossless"]
    missed = (session.ring.tail - seen_upto + 7) // 8
    session.analysis.process.send_signal(signal.SIGCONT)
    result = session.result()

    assert (ended["words"], ended["words_lost"]) == (1_500_000, 0)
    assert result["missed_words"] == missed > 0
    assert result["words"] + result["missed_words"] == 1_500_000
    assert not result["lossless"]
    assert session.ring.slot_state(slot)["overrun_bytes"] == 8 * missed
    kept = np.concatenate([words[:50_000], words[50_000 + missed :]])
    check(result, kept, phase(kept))


@pytest.mark.parametrize("next_words", [1000, 1_000_000])
def test_an_analysis_that_wakes_in_the_next_recording_counts_its_own(start, next_words):
    session = start(2 * MIB)
    slot = session.analyse()
    session.begin()
    words = spiral(150_003)
    session.write(HEADER + words[:50_000].tobytes())
    seen_upto = session.start + len(HEADER) + 50_000 * 8
    session.until(lambda: session.ring.slot_state(slot)["cursor"] == seen_upto)
    session.analysis.stop_now()
    session.write_paced(words[50_000:].tobytes() + b"odd")
    session.finish()
    session.begin()
    session.write_paced(HEADER + np.ones(next_words, np.uint64).tobytes())
    session.finish()
    session.analysis.process.send_signal(signal.SIGCONT)
    session.number -= 1
    result = session.result()

    seen = words if next_words == 1000 else words[:50_000]
    assert (result["words"], result["missed_words"]) == (len(seen), len(words) - len(seen))
    check(result, seen, phase(seen))


def test_an_analysis_that_is_passed_again_and_again_counts_every_word_once(start):
    session = start(MIB)
    slot = session.analyse()
    session.begin()
    words = np.random.default_rng(6).integers(0, 2**63, 4_000_000).astype(np.uint64)
    data = HEADER + words.tobytes()
    for at in range(0, len(data), 4 * MIB):
        session.analysis.stop_now()
        session.write_paced(data[at : at + 3 * MIB])
        session.analysis.process.send_signal(signal.SIGCONT)
        session.write_paced(data[at + 3 * MIB : at + 4 * MIB])
    ended = session.finish()
    result = session.result()

    assert result["words"] + result["missed_words"] == ended["words"] == 4_000_000
    assert result["radius"]["count"] == result["words"]
    assert session.ring.slot_state(slot)["overrun_bytes"] == 8 * result["missed_words"] > 0


def test_a_killed_analysis_costs_the_others_nothing_and_its_successor_says_what_it_missed(start):
    session = start(2 * MIB)
    slot = session.analyse()
    session.begin()
    words = spiral(800_000)
    session.write_paced(HEADER + words[:300_000].tobytes())
    session.analysis.process.kill()
    session.analysis.process.wait()
    session.write_paced(words[300_000:500_000].tobytes())
    session.tell(session.splitter, {"op": "free_slot", "slot": slot})
    session.number -= 1
    session.analysis = session.spawn("analysis")
    slot = session.analyse(analyse="user_functions:means")
    session.number += 1
    session.write_paced(words[500_000:].tobytes(), slot)
    ended = session.finish()
    session.analysis.expect("need_file")
    session.tell(session.analysis, {"op": "file", "paths": []})
    result = session.result()

    assert (ended["words"], ended["words_lost"]) == (800_000, 0)
    assert result["missed_words"] > 0
    assert result["words"] + result["missed_words"] == 800_000
    assert result["radius"]["mean"] == pytest.approx(
        radius(words[result["missed_words"] :]).mean(), rel=1e-10
    )


def test_without_a_free_slot_the_capture_goes_on(start):
    session = start(MIB)
    others = [session.watch, *(Slot.claim(session.ring, 0) for _ in range(23))]
    assert session.analyse() is None
    assert "slots" in session.analysis.expect("analysis")["result"]["error"]
    for slot in others[1:]:
        slot.leave()
    session.until(lambda: session.ring.slot_state(23)["state"] == "FREE")
    record(session, spiral(1000))

    assert session.result()["words"] == 1000


def test_it_ends_with_its_socket_even_in_a_recording(start):
    session = start(MIB)
    session.analyse()
    session.begin()
    session.write(HEADER)
    session.analysis.channel.close()
    session.ring.command()

    assert session.analysis.process.wait(DEADLINE_S) == 0
    assert session.analysis.said() == ""
