"""What the workers write to their standard output and error, passed on to the session's own.

A process that is stuck in the kernel keeps its descriptors until the destination answers. If one was the pipe of
``fastcap capture … 2>&1 | tee log``, that pipe's reader would wait with it, long after the session was left. So
where the session's standard error is a pipe, the workers get one of the supervisor's instead.
"""

from __future__ import annotations

import os
import stat
from _thread import allocate_lock, start_new_thread


class Relay:
    """A thread between the workers' standard error and this process's.

    Attributes
    ----------
    fd : int
        What workers are given as their descriptors 1 and 2.
    """

    def __init__(self) -> None:
        self.fd = 2
        self._over = allocate_lock()
        try:
            mode = os.fstat(2).st_mode
        except OSError:
            return
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            theirs, self.fd = os.pipe2(os.O_CLOEXEC)
            self._over.acquire()
            start_new_thread(self._pass_on, (theirs,))

    def _pass_on(self, fd: int) -> None:
        """Copy until every worker is gone. What nobody takes is lost, and holds no worker."""
        heard = True
        while said := os.read(fd, 1 << 16):
            try:
                while heard and said:
                    said = said[os.write(2, said) :]
            except OSError:
                heard = False
        self._over.release()

    def end(self, timeout_s: float) -> None:
        """Wait until all is passed on; for workers that are left behind, and a reader that stands, only so long."""
        if self.fd != 2:
            os.close(self.fd)
            self._over.acquire(timeout=timeout_s)
