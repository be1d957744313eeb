"""The files of user databases: found, locked, published and moved to the trash, each step atomic."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsud.engines.sqlite.paths import key_of, user_directory
from dsud.exceptions import UserDatabaseAlreadyExists, UserDatabaseUnavailable

#: The database inside its directory; SQLite puts its -wal and -shm beside it.
DATABASE = "db.sqlite3"

#: A file at the root of the location, by which a lost mount is told from a new site.
MARKER = ".dsud"

LOCK = "lock"
STAGED = "new-"
DELETED = ".deleted"

#: Seconds to wait for another process that makes, migrates or deletes the same database.
LOCK_WAIT = 30.0


def make_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, and its parents, durably."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(path.parent)
        make_directory(path)
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's contents durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read, and fsync it."""
    # The mode goes to os.open because the umask belongs to the whole process.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_marked(location: Path) -> bool:
    """Tell whether user databases were ever put below this directory."""
    return (location / MARKER).exists()


def mark(location: Path) -> None:
    """Make the directory and remember in it that user databases are put there."""
    make_directory(location)
    os.close(os.open(location / MARKER, os.O_WRONLY | os.O_CREAT, 0o600))
    sync_directory(location)


def live_database(directory: Path) -> Path | None:
    """Return the path of the user's database, or None when there is none.

    Each database has a numbered directory of its own, because a path must never be used again:
    whoever still has the old file open would delete the new one's -wal.
    """
    first = directory / "1" / DATABASE
    if first.exists():
        return first
    number = _newest_generation(directory)
    path = directory / str(number) / DATABASE
    return path if number > 1 and path.exists() else None


def _newest_generation(directory: Path) -> int:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return 0
    numbers = (name.removesuffix(DELETED) for name in names)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def publish(staged: Path, user_key: str) -> Path:
    """Rename a complete staged directory to the user's next place and return its database.

    Raises ``UserDatabaseAlreadyExists`` when the user has a database.
    """
    directory = staged.parent
    if live_database(directory) is not None:
        raise UserDatabaseAlreadyExists(
            user_key, f"User {user_key!r} has a database already; it was left as it is."
        )
    target = directory / str(_newest_generation(directory) + 1)
    # rename(2) refuses a target that is not empty: two can never both publish.
    staged.rename(target)
    sync_directory(directory)
    return target / DATABASE


def move_to_trash(database: Path) -> Path:
    """Take a database out of service with its sidecars, in one rename, and return the trash."""
    generation = database.parent
    trash = generation.with_name(generation.name + DELETED)
    generation.rename(trash)
    sync_directory(trash.parent)
    return trash


def new_staging_directory(directory: Path) -> Path:
    """Make an empty directory for a database to be built in; the caller holds the lock."""
    make_directory(directory)
    remove_leftovers(directory)
    staged = directory / f"{STAGED}{secrets.token_hex(6)}"
    staged.mkdir(mode=0o700)
    return staged


def remove_staged(directory: Path, *, pid: int) -> None:
    """Remove a staged directory, but not in a forked child, because it is the parent's."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed process left half-built; the lock proves that nobody builds now."""
    for name in os.listdir(directory):
        if name.startswith(STAGED):
            shutil.rmtree(directory / name)


def each_user(location: Path) -> Iterator[tuple[str, Path]]:
    """Yield the key and the database of every user who has one."""
    for fan in _directories(location):
        for directory in _directories(fan):
            if (path := live_database(directory)) is not None:
                yield key_of(directory.name), path


def _directories(parent: Path) -> Iterator[Path]:
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        if not path.name.startswith(".") and path.is_dir():
            yield path


@contextmanager
def locked(location: Path, user_key: str) -> Iterator[None]:
    """Hold the user's lock against every other thread and process.

    Raises ``UserDatabaseUnavailable`` after ``LOCK_WAIT`` seconds.
    """
    try:
        with locked_directory(user_directory(location, user_key)):
            yield
    except LockTimeout as error:
        raise UserDatabaseUnavailable(
            user_key,
            f"The database of user {user_key!r} is being made, migrated or deleted by somebody"
            f" else for more than {LOCK_WAIT:g} s. Try again later.",
        ) from error


class LockTimeout(Exception):
    """Somebody else kept a lock for longer than ``LOCK_WAIT``."""


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Hold a directory's lock; its file is never removed, because flock plus unlink lets two in."""
    make_directory(directory)
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(descriptor)
        try:
            yield
        finally:
            # Unlocked by name, because a forked child shares the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LockTimeout from None
            time.sleep(0.005)
        else:
            return
