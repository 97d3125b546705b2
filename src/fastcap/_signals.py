"""The module `signal` without its enums, which are a third of a process's start: numbers are plain integers."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
