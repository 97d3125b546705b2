"""A made-up USB bus: sysfs and /dev of a board that switches modes as the kernel and udev would show it."""

from __future__ import annotations

import os
import threading
import time
import tty
from pathlib import Path

from fastcap.devices.board_usb import UsbPlaces

SERIAL = "VHFP-QO03"


class UsbTree:
    """One board (and a mouse) below a folder; a thread plays kernel, udev and board."""

    def __init__(self, root: Path, mode: str = "2", *, appears: bool = True) -> None:
        self.places = UsbPlaces(sysfs=f"{root}/sys/bus/usb/devices", dev=f"{root}/dev")
        self.folder = Path(self.places.sysfs, "1-2")
        self.value = self.folder / "bConfigurationValue"
        self.node = Path(self.places.dev, "usbhybrid0")
        self.link = Path(self.places.dev, "ioboards", SERIAL)
        self.port = Path(self.places.dev, "serial", "by-id", f"usb-S-Fifteen_VHF_Processor_{SERIAL}-if00")
        self.modes: list[str] = []
        self.lines: list[tuple[float, bytes]] = []
        self.appears = appears
        for folder in (self.folder, self.link.parent, self.port.parent, Path(self.places.sysfs, "1-1")):
            folder.mkdir(parents=True)
        (self.folder / "product").write_text("VHF Processor\n")
        (self.folder / "serial").write_text(f"{SERIAL}\n")
        Path(self.places.sysfs, "1-1", "product").write_text("Mouse\n")
        self.value.write_text(f"{mode}\n")
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self._show(mode)
        self._mode = mode
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self.master)
        os.close(self.slave)

    def _play(self) -> None:
        rest = b""
        while not self._ended.wait(0.005):
            try:
                *lines, rest = (rest + os.read(self.master, 4096)).split(b"\n")
                self.lines += [(time.monotonic(), line) for line in lines]
            except BlockingIOError:
                pass
            mode = self.value.read_text().strip()
            if mode and mode != self._mode:
                self._mode = mode
                self.modes.append(mode)
                self._show(mode)

    def _show(self, mode: str) -> None:
        for path in (self.node, self.link, self.port):
            path.unlink(missing_ok=True)
        if mode == "2" and self.appears:
            self.node.write_bytes(b"")
            self.link.symlink_to(self.node)
        elif mode == "1" and self.appears:
            self.port.symlink_to(os.ttyname(self.slave))
