"""Directories of runs of tests that were killed: the next run knows them by their lock, and removes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

#: How the directory of a run is called, among the temporary ones.
PREFIX = "dsud-tests-"

#: A file in it that is locked for as long as the run goes on, whatever ends it.
LOCK = ".lock"


def make_directory() -> tuple[Path, int]:
    """Make the directory of a run, and return it with what keeps it locked until the process ends."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    aside = directory / f"{LOCK}.new"
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    aside.rename(directory / LOCK)  # By now, because another run may be looking for leftovers.
    return directory, descriptor


def remove_leftovers() -> None:
    """Remove the directories of runs that nobody goes on with."""
    with os.scandir(tempfile.gettempdir()) as entries:
        directories = [
            Path(entry)
            for entry in entries
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
        ]
    for directory in filter(_is_left, directories):
        shutil.rmtree(directory, ignore_errors=True)


def _is_left(directory: Path) -> bool:
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR)
    except OSError:
        return False  # It is being made or removed, or is somebody else's.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # Its run goes on.
    finally:
        os.close(descriptor)
    return True
