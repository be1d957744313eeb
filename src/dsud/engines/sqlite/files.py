"""The files of user databases: found, locked, published and moved to the trash, each step atomic."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dsud.engines.sqlite.paths import fan_and_name, key_of, user_directory
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

STAGED = "new-"
DELETED = ".deleted"

_AS_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

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
    _sync(path, _AS_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file's contents durable."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path | str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path | str, *pieces: bytes | memoryview) -> None:
    """Write a new file that only its owner may read, and fsync it."""
    _write(path, pieces, durably=True)


def write_for_now(path: Path | str, *pieces: bytes | memoryview) -> None:
    """Write a new file that only its owner may read, and that somebody else makes durable."""
    _write(path, pieces, durably=False)


def _write(path: Path | str, pieces: Iterable[bytes | memoryview], *, durably: bool) -> None:
    descriptor = open_private(path, os.O_WRONLY | os.O_EXCL)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        if durably:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


# The location


def is_marked(location: Path | str) -> bool:
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
        return _newest_of(_names_in(directory))
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _newest_of(names: Iterable[str]) -> int:
    numbers = [name.removesuffix(DELETED) for name in names]
    return max([int(number) for number in numbers if number.isdecimal()], default=0)


def _names_in(directory: Path | str) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def publish(staged: Path | str, user_key: str, *, newest: int | None = None) -> str:
    """Rename a complete staged directory to the user's next place and return its database.

    ``newest`` is what ``new_staging_directory`` found, unless the lock was given up since.
    Raises ``UserDatabaseAlreadyExists`` when the user has a database.
    """
    directory = os.path.dirname(staged)  # noqa: PTH120
    number = _newest_generation(directory) if newest is None else newest
    if number and live_database(Path(directory)) is not None:
        raise _already_exists(user_key)
    target = f"{directory}/{number + 1}"
    try:
        # rename(2) refuses a target that is not empty: two can never both publish.
        os.rename(staged, target)  # noqa: PTH104
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _already_exists(user_key) from error
        raise
    sync_directory(directory)
    return f"{target}/{DATABASE}"


def _already_exists(user_key: str) -> UserDatabaseAlreadyExists:
    return UserDatabaseAlreadyExists(
        user_key, f"User {user_key!r} has a database already; it was left as it is."
    )


def move_to_trash(database: Path) -> Path:
    """Take a database out of service with its sidecars, in one rename, and return the trash."""
    generation = database.parent
    trash = generation.with_name(generation.name + DELETED)
    generation.rename(trash)
    sync_directory(trash.parent)
    return trash


def new_staging_directory(directory: Path | str) -> tuple[str, int]:
    """Make an empty directory for a database to be built in; the caller holds the lock.

    Return it, and the number of the newest place that the user ever had, or 0.
    """
    names = _names_in(directory)
    for name in names:
        if name.startswith(STAGED):
            # A killed process has left it half-built; the lock proves that nobody builds now.
            shutil.rmtree(f"{directory}/{name}")
    staged = f"{directory}/{STAGED}{os.urandom(6).hex()}"
    make_directory(staged)
    return staged, _newest_of(names)


def remove_staged(directory: Path | str, *, pid: int) -> None:
    """Remove a staged directory, but not in a forked child, because it is the parent's."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)


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


class locked_directory:  # noqa: N801, because it reads as a phrase
    """Hold a directory's lock for a block; it is made if it is not there.

    The directory itself is locked, and never removed, because flock plus unlink lets two in. A file
    for that would be one more to make for each user. Raises ``Locked`` after ``LOCK_WAIT`` seconds.
    """

    __slots__ = ("_descriptor", "_directory", "_owner")

    def __init__(self, directory: Path | str) -> None:
        self._directory = str(directory)

    def __enter__(self) -> None:
        try:
            descriptor = os.open(self._directory, _AS_DIRECTORY)
        except FileNotFoundError:
            make_directory(self._directory)
            descriptor = os.open(self._directory, _AS_DIRECTORY)
        try:
            _wait_for(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._owner = descriptor, os.getpid()

    def __exit__(self, *raised: object) -> None:
        try:
            # By name, because a forked child shares the lock; nor may the child end its parent's.
            if os.getpid() == self._owner:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            os.close(self._descriptor)


class locked(locked_directory):  # noqa: N801, because it reads as a phrase
    """Hold the user's lock for a block, against every other thread and process.

    Raises ``UserDatabaseUnavailable`` after ``LOCK_WAIT`` seconds, and when the location is lost:
    there nothing is made, not even the directory to lock.
    """

    __slots__ = ("_location", "_user_key")

    def __init__(self, location: Path | str, user_key: str) -> None:
        super().__init__(f"{location}/{fan_and_name(user_key)}")
        self._location, self._user_key = location, user_key

    def __enter__(self) -> None:
        if not is_marked(self._location):
            raise UserDatabaseUnavailable(
                self._user_key,
                f"The location of user databases lacks its marker, {MARKER}, so that of user"
                f" {self._user_key!r} is out of reach. Is its disk mounted?",
            )
        try:
            super().__enter__()
        except Locked as error:
            raise UserDatabaseUnavailable(
                self._user_key,
                f"The database of user {self._user_key!r} is being made, migrated or deleted by"
                f" somebody else for more than {LOCK_WAIT:g} s. Try again later.",
            ) from error


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
