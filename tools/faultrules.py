"""Which call of a file system is disturbed, how, and the record of what was done.

The passage of a call: `Rulebook.begin` holds it (stall), refuses it (error, full) or shortens it (short,
full); the caller carries it out; `Rulebook.end` delays its return (throttle) or turns it into an error.
Knows nothing of FUSE.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from tools.faultmodel import ALIASES, LONGEST_S, Injection, Rule

_LOOK_NS = 20_000_000  # how often a killable stall looks whether its caller was killed


class Call(msgspec.Struct):
    """One call on its way through the rules. ``size`` is what may be carried out of it."""

    op: str
    path: str
    offset: int
    size: int
    start_ns: int
    carried_out: tuple[int, Rule] | None = None  # the rule whose error is returned at the end
    rates: list[int] = []  # numbers of the throttles to pass at the end


class _State:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.ops, self.also = ({ALIASES.get(op, op) for op in ops} for ops in (rule.ops, rule.also))
        self.seen = self.fired = 0
        self.open_until_ns = 0
        self.left = rule.size
        self.next_free_ns = 0

    def holds(self, op: str) -> bool:
        return bool({op, "*"} & (self.ops | self.also))


class Rulebook:
    """The rules in force, safe to use from many threads.

    Parameters
    ----------
    record : callable
        Called with every `Injection` when it is over.
    """

    def __init__(self, record: Callable[[Injection], None]) -> None:
        self._record = record
        self._change = threading.Condition()
        self._states: dict[int, _State] = {}
        self._next = 1
        self._active: list[Injection] = []
        self._fired: dict[int, int] = {}

    def add(self, rule: Rule) -> int:
        """Put a rule in force; return its number."""
        with self._change:
            number, self._next = self._next, self._next + 1
            self._states[number] = _State(rule)
            self._fired[number] = 0
            return number

    def clear(self, number: int | None = None) -> None:
        """Take one rule, or all, out of force; calls that it holds go on."""
        with self._change:
            for n in [number] if number is not None else list(self._states):
                self._states.pop(n, None)
            self._change.notify_all()

    def wait_fired(self, number: int, times: int, timeout_s: float) -> bool:
        """Wait until a rule has begun to disturb ``times`` calls; False: not in time."""
        with self._change:
            return self._change.wait_for(lambda: self._fired.get(number, 0) >= times, timeout_s)

    def active(self) -> list[Injection]:
        """Return the injections that go on at this moment."""
        with self._change:
            return list(self._active)

    def room(self) -> int | None:
        """Return how many bytes still fit under a ``full`` rule, None without one."""
        with self._change:
            return min((s.left for s in self._states.values() if s.rule.kind == "full"), default=None)

    # -- the passage of a call -------------------------------------------------------------------------

    def begin(
        self,
        op: str,
        *names: str,
        offset: int = 0,
        size: int = 0,
        growth: int = 0,
        killed: Callable[[], bool] = lambda: False,
    ) -> Call:
        """Hold, refuse or shorten a call.

        Parameters
        ----------
        op, names
            The operation and the path, or paths (rename, link), it is about.
        offset, size
            Its byte range, for read and write.
        growth
            By how much it would lengthen the file.
        killed
            Tells whether the caller was killed; asked during a killable stall.

        Raises
        ------
        OSError
            The call must fail so; nothing of it was carried out.
        """
        call = Call(op, names[0], offset, size, time.monotonic_ns())
        with self._change:
            for number, state in list(self._states.items()):
                kind = state.rule.kind
                if kind == "stall":
                    self._stall(number, state, call, names, killed)
                elif self._concerns(state, call, names):
                    getattr(self, "_" + kind)(number, state, call, growth)
        return call

    def end(self, call: Call, done: int = 0) -> Rule | None:
        """Delay the return of a call that did ``done`` bytes; return the rule by which it now fails."""
        with self._change:
            for number in call.rates:
                self._pay(number, call, done)
            if call.carried_out is None:
                return None
            number, rule = call.carried_out
            self._note(number, call, errno=rule.errno)
            return rule

    def _concerns(self, state: _State, call: Call, names: tuple[str, ...]) -> bool:
        """Count a call that a rule is about; tell whether the rule disturbs it."""
        rule = state.rule
        if not {call.op, "*"} & state.ops or not any(fnmatchcase(n, rule.path) for n in names):
            return False
        if not rule.start_ns <= call.start_ns < rule.until_ns:
            return False
        if rule.at_offset is not None and not call.offset <= rule.at_offset < call.offset + call.size:
            return False
        state.seen += 1
        if state.seen <= rule.after or (rule.count is not None and state.fired >= rule.count):
            return False
        state.fired += 1
        return True

    def _note(self, number: int, call: Call, *, size: int | None = None, errno: int = 0) -> None:
        """Log an injection that takes no time."""
        self._over(self._start(number, call, errno=errno, size=size))

    def _start(
        self, number: int, call: Call, *, start_ns: int = 0, errno: int = 0, size: int | None = None
    ) -> Injection:
        rule = self._states.get(number)
        kind = rule.rule.kind if rule else "error"
        injection = Injection(
            rule=number,
            kind=kind,
            op=call.op,
            path=call.path,
            offset=call.offset,
            size=call.size if size is None else size,
            start_ns=start_ns or time.monotonic_ns(),
            errno=errno,
        )
        self._active.append(injection)
        self._fired[number] = self._fired.get(number, 0) + 1
        self._change.notify_all()
        return injection

    def _over(self, injection: Injection) -> None:
        injection.end_ns = time.monotonic_ns()
        self._active.remove(injection)
        self._record(injection)

    # -- the kinds -------------------------------------------------------------------------------------

    def _stall(
        self, number: int, state: _State, call: Call, names: tuple[str, ...], killed: Callable[[], bool]
    ) -> None:
        rule, now = state.rule, time.monotonic_ns()
        length_ns = round((LONGEST_S if rule.seconds is None else rule.seconds) * 1e9)
        if rule.start_ns:
            state.open_until_ns = rule.start_ns + length_ns if now >= rule.start_ns else 0
        elif now >= state.open_until_ns and self._concerns(state, call, names):
            state.open_until_ns = now + length_ns
        if now >= state.open_until_ns or not state.holds(call.op):
            return
        if (
            not any(fnmatchcase(n, rule.path) for n in names)
            and call.op not in state.also
            and "*" not in state.also
        ):
            return
        injection = self._start(number, call, start_ns=now)
        try:
            while number in self._states and (left := state.open_until_ns - time.monotonic_ns()) > 0:
                if rule.killable and killed():
                    injection.errno = errno.EINTR
                    raise OSError(errno.EINTR, os.strerror(errno.EINTR))
                self._change.wait(min(left, _LOOK_NS if rule.killable else 3_600_000_000_000) / 1e9)
        finally:
            self._over(injection)

    def _error(self, number: int, state: _State, call: Call, growth: int) -> None:
        rule = state.rule
        if rule.carry_out or rule.lose:
            call.carried_out = (number, rule)
            return
        self._note(number, call, errno=rule.errno)
        raise OSError(rule.errno, os.strerror(rule.errno))

    def _short(self, number: int, state: _State, call: Call, growth: int) -> None:
        if state.rule.size < call.size:
            call.size = state.rule.size
            self._note(number, call)

    def _full(self, number: int, state: _State, call: Call, growth: int) -> None:
        if growth > state.left:
            call.size = max(0, call.size - (growth - state.left))
            code = 0 if call.size else state.rule.errno
            growth = state.left
            self._note(number, call, errno=code)
            if code:
                raise OSError(code, os.strerror(code))
        state.left -= growth

    def _throttle(self, number: int, state: _State, call: Call, growth: int) -> None:
        call.rates = [*call.rates, number]

    def _pay(self, number: int, call: Call, done: int) -> None:
        """Return no earlier than the rate allows."""
        state = self._states.get(number)
        if state is None or not done:
            return
        now = time.monotonic_ns()
        state.next_free_ns = max(call.start_ns, state.next_free_ns) + done * 1_000_000_000 // state.rule.size
        due = state.next_free_ns
        if due <= now:
            return
        injection = self._start(number, call, size=done)
        while number in self._states and (left := due - time.monotonic_ns()) > 0:
            self._change.wait(left / 1e9)
        self._over(injection)
