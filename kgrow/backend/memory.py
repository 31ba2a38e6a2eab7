"""The most memory that a piece of work needs, measured."""

import pathlib
import re

from kgrow.backend import peak_bytes

_STATUS = pathlib.Path("/proc/self/status")
_RESET = pathlib.Path("/proc/self/clear_refs")


class PeakMemory:
    """Context that measures how far memory rises above its level at entry.

    On an accelerator the allocator's own count, on a Linux host the resident
    set of the process; elsewhere `extra_bytes` is `None`, not a guess. An
    accelerator's peak cannot be set back, so there a lower peak than an
    earlier one is reported as what is in use at the end.

    Example:

    >>> with PeakMemory() as memory:
    ...     block = bytearray(1 << 22)
    >>> memory.extra_bytes is None or memory.extra_bytes >= 0
    True
    """

    def __init__(self):
        self.extra_bytes = None

    def __enter__(self):
        self._device = peak_bytes()
        if self._device is None:
            self._host = _resident("VmRSS") if _reset_peak() else None
        return self

    def __exit__(self, *error):
        if self._device is not None:
            start, old_peak = self._device
            used, peak = peak_bytes()
            highest = peak if peak > old_peak else used
            self.extra_bytes = max(0, highest - start)
        elif self._host is not None:
            self.extra_bytes = max(0, _resident("VmHWM") - self._host)


def resident_bytes():
    """Memory of this process now, or `None` where the system does not say."""
    return _resident("VmRSS") if _STATUS.exists() else None


def _reset_peak():
    try:
        _RESET.write_text("5")
        return _STATUS.exists()
    except OSError:
        return False


def _resident(field):
    match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    return int(match[1]) * 1024
