"""Messages between processes: fragments, descriptors, peers that stand still or go away."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap.wire import Channel, Closed, Message, pair

LONG_S = 30.0
texts = st.dictionaries(
    st.text(max_size=5).filter(lambda k: k != "fds"), st.one_of(st.text(), st.integers()), max_size=3
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = pair()
    ends = ours, Channel(theirs)
    yield ends
    for end in ends:
        end.close()


def frame(message: dict[str, object]) -> bytes:
    body = json.dumps({**message, "fds": 0}).encode()
    return struct.pack("<I", len(body)) + body


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, max_size=5), st.data())
def test_messages_survive_any_fragmentation(messages: list[dict[str, object]], data: st.DataObject) -> None:
    channel, theirs = pair()
    stream = b"".join(frame(m) for m in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    got = []
    for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        theirs.sendall(stream[low:high])
        while (message := channel.poll()) is not None:
            got.append(message)
    assert got == [(m, []) for m in messages]
    theirs.close()
    channel.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(texts, max_size=5))
def test_quick_messages_arrive_as_they_were(messages: list[Message]) -> None:
    ours, theirs = pair(quick=True)
    other = Channel(theirs)
    for message in messages:
        ours.send(message)
    assert [other.receive(LONG_S) for _ in messages] == [(m, []) for m in messages]
    ours.close()
    other.close()


def test_numpys_numbers_arrive_as_numbers() -> None:
    ours, theirs = pair(quick=True)
    other = Channel(theirs)
    ours.send({"mean": np.float64(0.1), "some": [np.float64(2.0)]})
    assert other.receive(LONG_S) == ({"mean": 0.1, "some": [2.0]}, [])
    ours.close()
    other.close()


def test_message_larger_than_the_socket_arrives_whole(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    text = "x" * 3_000_000
    a.send({"text": text})
    assert a.pending == 1
    got = None
    while got is None:
        a.flush()
        got = b.poll()
    assert got == ({"text": text}, [])
    assert a.pending == 0


def test_descriptors_travel_with_their_own_message(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    pipes = [os.pipe() for _ in range(4)]
    a.send({"n": 0}, [pipes[0][0], pipes[1][0]])
    a.send({"n": 1})
    a.send({"n": 2}, [pipes[2][0]])
    a.send({"n": 3}, [pipes[3][0]])
    for n, (_, theirs) in enumerate(pipes):
        os.write(theirs, b"%d" % n)

    got = [b.receive(LONG_S) for _ in range(4)]

    fds = [message[1] for message in got if message is not None]
    assert [m[0] for m in got if m] == [{"n": n} for n in range(4)]
    assert [[os.read(fd, 9) for fd in each] for each in fds] == [[b"0", b"1"], [], [b"2"], [b"3"]]
    for fd in [*[fd for each in fds for fd in each], *[fd for both in pipes for fd in both]]:
        os.close(fd)


def test_received_descriptors_are_closed_on_exec(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    a.send({}, [0])
    got = b.receive(LONG_S)
    assert got is not None
    assert fcntl.fcntl(got[1][0], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(got[1][0])


def test_stopped_peer_does_not_block_send(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    ours, theirs = os.pipe()
    for n in range(2000):
        a.send({"n": n, "text": "x" * 1000}, [ours] if n == 1999 else [])
    assert a.pending > 0, "the socket takes everything: this shows nothing"
    os.close(ours)  # it was duplicated

    got: list[tuple[Message, list[int]]] = []
    while len(got) < 2000:
        a.flush()
        while (message := b.poll()) is not None:
            got.append(message)

    assert [m["n"] for m, _ in got] == list(range(2000))
    os.write(theirs, b"still open")
    assert os.read(got[-1][1][0], 99) == b"still open"
    os.close(theirs)
    os.close(got[-1][1][0])


def test_receive_sends_what_is_kept_while_it_waits(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    text = "x" * 3_000_000
    a.send({"text": text})

    def answer() -> None:
        got = b.receive(LONG_S)
        b.send({"size": len(got[0]["text"]) if got else 0})

    thread = threading.Thread(target=answer)
    thread.start()
    assert a.receive(LONG_S) == ({"size": 3_000_000}, [])
    thread.join()


def test_large_messages_cross_each_other(ends: tuple[Channel, Channel]) -> None:
    """Whoever listens sends what it keeps: neither side waits for the other for ever."""
    texts = ["x" * 50_000_000, "y" * 50_000_000]
    for end, text in zip(ends, texts, strict=True):
        end.send({"text": text}, quick=True)
    heard: list[str | None] = [None, None]

    def listen(at: int) -> None:
        while heard[at] is None or ends[at].pending:
            select.select([ends[at]], [ends[at]] if ends[at].pending else [], [], LONG_S)
            if (got := ends[at].poll()) is not None:
                heard[at] = got[0]["text"]

    threads = [threading.Thread(target=listen, args=(at,)) for at in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LONG_S)
    assert [heard[0] == texts[1], heard[1] == texts[0]] == [True, True]


def test_threads_that_send_at_once_mix_nothing(ends: tuple[Channel, Channel]) -> None:
    a, b = ends

    def say(who: int) -> None:
        for n in range(100):
            a.send({"who": who, "n": n, "text": "x" * 20_000})
            a.drain(LONG_S)

    threads = [threading.Thread(target=say, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    got = [b.receive(LONG_S) for _ in range(300)]
    for thread in threads:
        thread.join(LONG_S)
    said = [(m[0]["who"], m[0]["n"]) for m in got if m is not None]
    assert sorted(said) == [(who, n) for who in range(3) for n in range(100)]
    assert all([n for w, n in said if w == who] == list(range(100)) for who in range(3))


def test_drain_gives_up_on_a_peer_that_takes_nothing(ends: tuple[Channel, Channel]) -> None:
    ends[0].send({"text": "x" * 3_000_000})

    assert not ends[0].drain(0.01)
    assert ends[0].pending == 1


def test_what_was_said_before_the_end_is_heard(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    a.send({"n": 0})
    a.send({"n": 1})
    a.close()
    assert [b.poll(), b.poll()] == [({"n": 0}, []), ({"n": 1}, [])]
    with pytest.raises(Closed):
        b.poll()
    with pytest.raises(Closed):
        b.receive(LONG_S)


class LeavingPeer:
    """Stands for the poller: while the channel waits, the peer speaks and goes."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._poller = select.poll()

    def register(self, *what: Any) -> None:
        self._poller.register(*what)

    def poll(self, timeout_ms: float | None) -> list[tuple[int, int]]:
        if self._peer.fileno() >= 0:
            self._peer.sendall(frame({"op": "last words"}))
            self._peer.close()
        return self._poller.poll(timeout_ms)


def test_last_words_are_heard_though_something_could_not_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, theirs = pair()
    channel.send({"text": "x" * 3_000_000})
    assert channel.pending
    peer = LeavingPeer(theirs)
    monkeypatch.setattr("fastcap.wire.select.poll", lambda: peer)

    assert channel.receive(LONG_S) == ({"op": "last words"}, [])
    with pytest.raises(Closed):
        channel.receive(LONG_S)
    channel.close()


def test_sending_to_a_peer_that_is_gone_is_told(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    b.close()
    with pytest.raises(Closed):
        a.send({})


def test_receive_gives_up_in_time(ends: tuple[Channel, Channel]) -> None:
    assert ends[0].receive(0.01) is None


def test_closing_lets_go_of_descriptors_nobody_took() -> None:
    ours, theirs = os.pipe()
    channel, sock = pair()
    channel.send({"kept": "x" * 3_000_000})
    channel.send({}, [theirs])
    os.close(theirs)
    channel.close()
    assert os.read(ours, 1) == b"", "a copy of the pipe's write end is still open"
    os.close(ours)
    sock.close()


def test_channel_can_be_made_of_an_inherited_descriptor() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel.from_fd(theirs.detach())
    ours.sendall(frame({"n": 1}))
    assert channel.receive(LONG_S) == ({"n": 1}, [])
    channel.close()
    ours.close()
