"""What a process holds, as the kernel counts it: resident memory, and handles at any moment."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds between two looks.
LOOK = 0.02


def resident() -> int:
    """Return the bytes of the process that are in memory, mapped files included."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    """Return how many files the process has open."""
    # Not as paths, because so many of them at a time would be what the process takes.
    with os.scandir("/proc/self/fd") as entries:
        return sum(1 for _ in entries) - 1  # Less the one that this takes.


class Seen:
    """The handles of a process: at first, and the most at any look."""

    def __init__(self) -> None:
        self.first = self.most = handles()

    def look(self) -> None:
        """Count them now."""
        self.most = max(self.most, handles())


@contextmanager
def watched() -> Iterator[Seen]:
    """Count handles again and again during a block, and at its end."""
    seen, over = Seen(), threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            seen.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.look()
