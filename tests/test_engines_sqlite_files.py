"""The files of user databases: private, durable, locked, and each step all or nothing."""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from dsud.engines.sqlite import files
from dsud.engines.sqlite.paths import user_directory
from dsud.exceptions import UserDatabaseAlreadyExists, UserDatabaseUnavailable


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def in_child(run: Callable[[], object]) -> int:
    """Run a function in a forked child and return its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the directory of user 7 in a location that is ready."""
    files.mark(tmp_path / "here")
    directory = user_directory(tmp_path / "here", "7")
    files.make_directory(directory)
    return directory


def put_database(directory: Path, content: bytes = b"rows") -> Path:
    staged, newest = files.new_staging_directory(directory)
    files.write_durably(f"{staged}/{files.DATABASE}", content)
    return Path(files.publish(staged, "7", newest=newest))


# Private


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_modes__whatever_the_umask(tmp_path: Path, umask: int) -> None:
    location = tmp_path / "srv" / "users"

    def build() -> None:
        os.umask(umask)
        files.mark(location)
        with files.locked(location, "7"):
            put_database(user_directory(location, "7"))
        assert os.umask(0) == umask

    assert in_child(build) == 0
    made = [tmp_path / "srv", *(tmp_path / "srv").rglob("*")]
    assert {path.name for path in made} >= {"users", ".dsud", "7", "1", "db.sqlite3"}
    for path in made:
        assert mode_of(path) == (0o700 if path.is_dir() else 0o600), path


def test_make_directory__leaves_an_existing_one_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    files.make_directory(tmp_path)
    assert mode_of(tmp_path) == 0o755


# Durable


def synced(run: Callable[[], object]) -> list[str]:
    """Return what was synced and renamed while a function ran, in order."""
    events = []
    rename = os.rename

    def sync(descriptor: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    def renamed(path: Path, target: str) -> None:
        events.append(f"rename to {Path(target).name}")
        rename(path, target)

    with mock.patch.object(os, "fsync", sync), mock.patch.object(os, "rename", renamed):
        run()
    return events


def test_publish__contents_are_durable_before_the_name_is(place: Path) -> None:
    assert synced(lambda: put_database(place)) == ["sync db.sqlite3", "rename to 1", "sync 7"]


def test_move_to_trash__is_durable(place: Path) -> None:
    database = put_database(place)
    assert synced(lambda: files.move_to_trash(database)) == ["rename to 1.deleted", "sync 7"]


def test_write_durably__writes_everything_although_the_disk_takes_little(tmp_path: Path) -> None:
    write = os.write
    with mock.patch.object(os, "write", lambda fd, data: write(fd, data[:1000])):
        files.write_durably(tmp_path / "db", b"x" * 2000, memoryview(b"x" * 2096))
    assert (tmp_path / "db").read_bytes() == b"x" * 4096


def test_write_durably__never_overwrites(tmp_path: Path) -> None:
    files.write_durably(tmp_path / "db", b"old")
    with pytest.raises(FileExistsError):
        files.write_durably(tmp_path / "db", b"new")
    assert (tmp_path / "db").read_bytes() == b"old"


# Published, found, in the trash


def test_publish__refuses_while_there_is_a_database(place: Path) -> None:
    first = put_database(place, b"first")
    with pytest.raises(UserDatabaseAlreadyExists) as caught:
        put_database(place, b"second")
    assert str(caught.value) == "User '7' has a database already; it was left as it is."
    assert files.live_database(place) == first
    assert first.read_bytes() == b"first"


def test_publish__two_that_were_staged_at_once(place: Path) -> None:
    """The lock forbids it; where it fails, the file system lets only one have the name."""
    staged = [files.new_staging_directory(place) for _ in range(2)]
    assert not Path(staged[0][0]).exists()  # The second took it for what a killed maker left.
    Path(staged[0][0]).mkdir()
    for (directory, _), content in zip(staged, (b"first", b"second"), strict=True):
        files.write_durably(f"{directory}/{files.DATABASE}", content)
    files.publish(staged[0][0], "7", newest=staged[0][1])
    with pytest.raises(UserDatabaseAlreadyExists) as caught:
        files.publish(staged[1][0], "7", newest=staged[1][1])
    assert str(caught.value) == "User '7' has a database already; it was left as it is."
    assert (place / "1" / "db.sqlite3").read_bytes() == b"first"


def test_publish__name_that_the_disk_does_not_take(place: Path) -> None:
    staged, _ = files.new_staging_directory(place)
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        mock.patch.object(os, "rename", side_effect=error),
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
    ):
        files.publish(staged, "7")


def test_publish__never_uses_a_path_again(place: Path) -> None:
    paths = []
    for number in range(3):
        database = put_database(place, str(number).encode())
        (database.parent / "db.sqlite3-wal").write_bytes(b"wal %d" % number)
        paths.append(database)
        assert files.live_database(place) == database
        trash = files.move_to_trash(database)
        assert sorted(path.name for path in trash.iterdir()) == ["db.sqlite3", "db.sqlite3-wal"]
        assert files.live_database(place) is None
    assert [path.parent.name for path in paths] == ["1", "2", "3"]
    assert sorted(path.name for path in place.iterdir()) == ["1.deleted", "2.deleted", "3.deleted"]


def test_publish__goes_past_a_place_whose_database_is_gone(place: Path) -> None:
    put_database(place).unlink()
    (place / "1" / "db.sqlite3-wal").write_bytes(b"stale rows")
    assert put_database(place).parent.name == "2"
    assert sorted(path.name for path in (place / "2").iterdir()) == ["db.sqlite3"]


def test_new_staging_directory__removes_what_a_killed_maker_left(place: Path) -> None:
    (place / "new-0123" / "deep").mkdir(parents=True)
    (place / "new-0123" / "db.sqlite3").write_bytes(b"half")
    put_database(place)
    assert sorted(path.name for path in place.iterdir()) == ["1"]


def test_remove_staged__not_in_a_forked_child(place: Path) -> None:
    staged, _ = files.new_staging_directory(place)
    parent = os.getpid()
    assert in_child(lambda: files.remove_staged(staged, pid=parent)) == 0
    assert Path(staged).is_dir()
    files.remove_staged(staged, pid=parent)
    assert not Path(staged).exists()


@pytest.mark.parametrize("made", ["nothing", "a file", "a dangling link"])
def test_live_database__none_where_there_is_none(place: Path, made: str) -> None:
    if made == "a file":
        place.rmdir()
        place.write_bytes(b"")
    elif made == "a dangling link":
        (place / "1").mkdir()
        (place / "1" / "db.sqlite3").symlink_to("nowhere")
    assert files.live_database(place) is None
    assert files.live_database(place / "not" / "here") is None


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ELOOP])
def test_live_database__disk_that_cannot_tell_is_no_absence(place: Path, code: int) -> None:
    with (
        mock.patch.object(os, "stat", side_effect=OSError(code, os.strerror(code))),
        pytest.raises(OSError, match=os.strerror(code)),
    ):
        files.live_database(place)


def test_each_user__passes_over_what_is_not_ours(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "lost+found":  # As it does to all but root, who may run this test.
            raise PermissionError(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    location = tmp_path / "here"
    put_database(place)
    (location / "lost+found").mkdir(mode=0)
    (location / ".template").mkdir()
    for foreign in ("Bob", "_ff", "8"):  # The last one is somewhere else than its key says.
        (place.parent / foreign / "1").mkdir(parents=True)
        (place.parent / foreign / "1" / "db.sqlite3").write_bytes(b"")
    (location / "zz" / "9" / "1").mkdir(parents=True)
    (location / "zz" / "9" / "1" / "db.sqlite3").write_bytes(b"")
    (location / "aa").write_bytes(b"a file")

    assert list(files.each_user(location)) == [("7", place / "1" / "db.sqlite3")]
    assert list(files.each_user(location / "missing")) == []


# Locks


def test_locked__keeps_other_threads_out(place: Path) -> None:
    location = place.parents[1]
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with files.locked(location, "7"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_locked__keeps_other_processes_out_until_they_are_killed(place: Path) -> None:
    location = place.parents[1]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with files.locked(location, "7"):
            os.write(writer, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    with (
        mock.patch.object(files, "LOCK_WAIT", 0.05),
        pytest.raises(UserDatabaseUnavailable) as caught,
        files.locked(location, "7"),
    ):
        pytest.fail("two were let in")
    assert str(caught.value) == (
        "The database of user '7' is being made, migrated or deleted by somebody else"
        " for more than 0.05 s. Try again later."
    )
    os.kill(child, 9)
    os.waitpid(child, 0)
    with files.locked(location, "7"), files.locked(location, "8"):
        assert list(place.iterdir()) == []  # No file is made for it.


def test_locked__forked_child_does_not_end_it(place: Path) -> None:
    location = place.parents[1]
    lock = files.locked(location, "7")
    lock.__enter__()
    assert in_child(lambda: lock.__exit__(None, None, None)) == 0
    other = os.open(place, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.__exit__(None, None, None)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_locked__child_that_lives_on_does_not_keep_it(place: Path) -> None:
    location = place.parents[1]
    with files.locked(location, "7"):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with mock.patch.object(files, "LOCK_WAIT", 0.05), files.locked(location, "7"):
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_locked__body_that_meets_another_lock_says_so_itself(place: Path) -> None:
    with pytest.raises(files.Locked, match=r"^the template$"), files.locked(place.parents[1], "7"):
        raise files.Locked("the template")


@pytest.mark.parametrize("there", [True, False])
def test_locked__lost_location_gets_not_even_a_lock(tmp_path: Path, there: bool) -> None:
    location = tmp_path / "mount"
    if there:
        location.mkdir()
    with pytest.raises(UserDatabaseUnavailable) as caught, files.locked(location, "7"):
        pytest.fail("locked on nothing")
    assert str(caught.value) == (
        "The location of user databases lacks its marker, .dsud, so that of user '7' is out of"
        " reach. Is its disk mounted?"
    )
    assert list(tmp_path.rglob("*")) == ([location] if there else [])
