"""The files of user databases: found, locked, published and moved to the trash, each step atomic."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dsud.engines.sqlite.paths import key_of, user_directory
from dsud.exceptions import UserDatabaseAlreadyExists, UserDatabaseUnavailable

#: The database inside its directory; SQLite puts its -wal and -shm beside it.
DATABASE = "db.sqlite3"

#: The directory of the user's own files, in the same directory, so that it goes where that goes.
FILES = "files"

#: A file at the root of the location, by which a lost mount is told from a new site.
MARKER = ".dsud"

#: What only its owner may enter, read and write, whatever the umask.
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

LOCK = "lock"
STAGED = "new-"
DELETED = ".deleted"

#: Seconds to wait for another process that makes, migrates or deletes the same database.
LOCK_WAIT = 30.0

_FAN = re.compile(r"[0-9a-f]{2}")


class Locked(OSError):
    """Somebody else keeps a lock for longer than ``LOCK_WAIT``."""


# Private and durable; by names in text where a sign-up waits, because paths take longer than the disk


def make_directory(path: Path | str) -> None:
    """Make a directory that only its owner may enter, and its parents; durable with what is in it."""
    name = str(path)
    try:
        os.mkdir(name, DIRECTORY_MODE)  # noqa: PTH102
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(os.path.dirname(name))  # noqa: PTH120
        make_directory(name)
        return
    # The umask may have taken more, and must be left alone: it belongs to the whole process.
    if stat.S_IMODE(os.stat(name).st_mode) != DIRECTORY_MODE:  # noqa: PTH116
        os.chmod(name, DIRECTORY_MODE)  # noqa: PTH101


def open_private(path: Path | str, flags: int) -> int:
    """Make or open a file that only its owner may read, whatever the umask, and return its descriptor."""
    descriptor = os.open(path, flags | os.O_CREAT, FILE_MODE)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != FILE_MODE:
        os.fchmod(descriptor, FILE_MODE)
    return descriptor


def sync_directory(path: Path | str) -> None:
    """Make the names in a directory durable, and those made before it on the way there.

    File systems with a journal keep the order of names; only POSIX would have each level synced,
    at a fifth of the cost of a database for each.
    """
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file's contents durable."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path | str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes | bytearray) -> None:
    """Write a new file that only its owner may read, and fsync it."""
    with _new_file(path) as descriptor:
        _write(descriptor, data)
        os.fsync(descriptor)


def write_for_now(path: Path, data: bytes | bytearray) -> None:
    """Write a new file that only its owner may read, and that somebody else makes durable."""
    with _new_file(path) as descriptor:
        _write(descriptor, data)


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    descriptor = open_private(path, os.O_WRONLY | os.O_EXCL)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


# The location


def is_marked(location: Path) -> bool:
    """Tell whether user databases were ever put below this directory."""
    return is_there(f"{location}/{MARKER}")


def mark(location: Path) -> None:
    """Make the directory and remember in it that user databases are put there."""
    make_directory(location)
    os.close(open_private(location / MARKER, os.O_WRONLY))
    sync_directory(location)
    sync_directory(location.parent)


def is_there(path: Path | str) -> bool:
    """Tell whether there is a file; raise ``OSError`` when the disk cannot tell.

    ``Path.exists`` takes some errors for an absence, and absent databases are made anew.
    """
    try:
        os.stat(path)  # noqa: PTH116, because a path takes longer to make than to look at
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


# One user's files


def live_database(directory: Path) -> Path | None:
    """Return the path of the user's database, or None when there is none.

    Each database has a numbered directory of its own, because a path must never be used again:
    whoever still has the old file open would delete the new one's -wal.
    """
    first = f"{directory}/1/{DATABASE}"  # Not joined, which takes longer than to look.
    return Path(first) if is_there(first) else later_database(directory)


def later_database(directory: Path | str) -> Path | None:
    """Return the path of the user's database where it is not the first that there was in its place."""
    number = _newest_generation(directory)
    if number <= 1:
        return None
    path = f"{directory}/{number}/{DATABASE}"
    return Path(path) if is_there(path) else None


def _newest_generation(directory: Path | str) -> int:
    try:
        names = _names_in(directory)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    numbers = (name.removesuffix(DELETED) for name in names)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _names_in(directory: Path | str) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def publish(staged: Path, user_key: str) -> Path:
    """Rename a complete staged directory to the user's next place and return its database.

    Raises ``UserDatabaseAlreadyExists`` when the user has a database.
    """
    directory = staged.parent
    number = _newest_generation(directory)
    if number and live_database(directory) is not None:
        raise UserDatabaseAlreadyExists(
            user_key, f"User {user_key!r} has a database already; it was left as it is."
        )
    target = f"{directory}/{number + 1}"
    # rename(2) refuses a target that is not empty: two can never both publish.
    os.rename(staged, target)  # noqa: PTH104
    sync_directory(directory)
    return Path(f"{target}/{DATABASE}")


def move_to_trash(database: Path) -> Path:
    """Take a database out of service with its sidecars, in one rename, and return the trash."""
    generation = database.parent
    trash = generation.with_name(generation.name + DELETED)
    generation.rename(trash)
    sync_directory(trash.parent)
    return trash


def new_staging_directory(directory: Path) -> Path:
    """Make an empty directory for a database to be built in; the caller holds the lock."""
    remove_leftovers(directory)
    staged = f"{directory}/{STAGED}{secrets.token_hex(6)}"
    make_directory(staged)
    return Path(staged)


def remove_staged(directory: Path, *, pid: int) -> None:
    """Remove a staged directory, but not in a forked child, because it is the parent's."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed process left half-built; the lock proves that nobody builds now."""
    for name in _names_in(directory):
        if name.startswith(STAGED):
            shutil.rmtree(directory / name)


def each_user(location: Path) -> Iterator[tuple[str, Path]]:
    """Yield the key and the database of every user who has one.

    What else lies there is passed over, such as ``lost+found`` on a disk of its own.
    """
    for fan in _directories(location):
        if not _FAN.fullmatch(fan.name):
            continue
        for directory in _directories(fan):
            key = key_of(directory.name)
            if key is None or user_directory(location, key) != directory:
                continue
            if (path := live_database(directory)) is not None:
                yield key, path


def _directories(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from (path for path in parent.iterdir() if path.is_dir())


# Locks


@contextmanager
def locked(location: Path, user_key: str) -> Iterator[None]:
    """Hold the user's lock against every other thread and process.

    Raises ``UserDatabaseUnavailable`` after ``LOCK_WAIT`` seconds, and when the location is lost:
    there nothing is made, not even the lock.
    """
    if not is_marked(location):
        raise UserDatabaseUnavailable(
            user_key,
            f"The location of user databases lacks its marker, {MARKER}, so that of user"
            f" {user_key!r} is out of reach. Is its disk mounted?",
        )
    with ExitStack() as held:
        try:
            held.enter_context(locked_directory(user_directory(location, user_key)))
        except Locked as error:
            raise UserDatabaseUnavailable(
                user_key,
                f"The database of user {user_key!r} is being made, migrated or deleted by somebody"
                f" else for more than {LOCK_WAIT:g} s. Try again later.",
            ) from error
        yield


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Hold a directory's lock; its file is never removed, because flock plus unlink lets two in."""
    name = f"{directory}/{LOCK}"  # Not joined, which takes longer than to open it.
    try:
        descriptor = open_private(name, os.O_RDWR)
    except FileNotFoundError:
        make_directory(directory)
        descriptor = open_private(name, os.O_RDWR)
    owner = os.getpid()
    try:
        _wait_for(descriptor)
        try:
            yield
        finally:
            # By name, because a forked child shares the lock; nor may the child end its parent's.
            if os.getpid() == owner:
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
                raise Locked(f"somebody else keeps it for more than {LOCK_WAIT:g} s") from None
            time.sleep(0.005)
        else:
            return
