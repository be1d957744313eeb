"""The template files: built once, found damaged, replaced, never in anybody's way."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from dsud.engines.sqlite import files
from dsud.engines.sqlite.templates import Templates


class Migrations:
    """What fills a template, counted."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, settings: dict[str, object]) -> None:
        self.runs += 1
        with closing(sqlite3.connect(str(settings["NAME"]))) as connection, connection:
            connection.execute(f"CREATE TABLE run_{self.runs} (id INTEGER)")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / ".template"


@pytest.fixture
def migrate() -> Migrations:
    return Migrations()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_build__makes_one_private_file(directory: Path, migrate: Migrations) -> None:
    templates = Templates(directory)
    assert not templates.has("aa")
    templates.build("aa", migrate)
    templates.build("aa", migrate)

    assert templates.has("aa")
    assert migrate.runs == 1
    assert names(directory) == ["aa.sqlite3"]
    assert templates.read("aa") == (directory / "aa.sqlite3").read_bytes()
    assert stat.S_IMODE((directory / "aa.sqlite3").stat().st_mode) == 0o600


def test_has__another_process_finds_the_file(directory: Path, migrate: Migrations) -> None:
    Templates(directory).build("aa", migrate)
    other = Templates(directory)
    other.build("aa", migrate)
    assert other.has("aa")
    assert migrate.runs == 1


def test_build__new_schema_replaces_the_old_template(directory: Path, migrate: Migrations) -> None:
    old = Templates(directory)
    old.build("aa", migrate)
    new = Templates(directory)
    new.build("bb", migrate)
    assert names(directory) == ["bb.sqlite3"]
    assert old.has("aa")  # A process that runs the old code has it in memory.


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, b"SQLite format 3\0"])
def test_build__damaged_file_is_built_again(
    directory: Path, migrate: Migrations, content: bytes
) -> None:
    Templates(directory).build("aa", migrate)
    (directory / "aa.sqlite3").write_bytes(content)
    templates = Templates(directory)
    assert not templates.has("aa")
    templates.build("aa", migrate)
    assert migrate.runs == 2
    assert b"run_2" in templates.read("aa")
    assert Templates(directory).has("aa")


def test_build__removes_what_a_killed_builder_left(directory: Path, migrate: Migrations) -> None:
    directory.mkdir()
    for leftover in ("new-0123.sqlite3", "new-0123.sqlite3-journal"):
        (directory / leftover).write_bytes(b"half")
    Templates(directory).build("aa", migrate)
    assert names(directory) == ["aa.sqlite3"]


def test_build__failed_migration_leaves_no_template(directory: Path, migrate: Migrations) -> None:
    templates = Templates(directory)

    def fail(settings: dict[str, object]) -> None:
        migrate(settings)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        templates.build("aa", fail)
    assert not templates.has("aa")
    templates.build("aa", migrate)
    assert names(directory) == ["aa.sqlite3"]


def test_build__threads_that_come_at_once_build_one(directory: Path, migrate: Migrations) -> None:
    templates = Templates(directory)
    start = threading.Barrier(8)

    def build() -> None:
        start.wait()
        templates.build("aa", migrate)

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert migrate.runs == 1


def test_build__migration_that_needs_a_template_fails_at_once(directory: Path) -> None:
    templates = Templates(directory)
    with pytest.raises(
        files.Locked, match=r"^the template that it would be cloned from is being built$"
    ):
        templates.build("aa", lambda settings: templates.build("aa", lambda settings: None))


def test_build__waits_no_longer_than_for_other_locks(directory: Path, migrate: Migrations) -> None:
    templates = Templates(directory)
    building, done = threading.Event(), threading.Event()

    def slowly(settings: dict[str, object]) -> None:
        building.set()
        done.wait(10)

    thread = threading.Thread(target=templates.build, args=("aa", slowly))
    thread.start()
    building.wait(10)
    with mock.patch.object(files, "LOCK_WAIT", 0.02):
        with pytest.raises(files.Locked, match=r"^its template is not built after 0\.02 s$"):
            templates.build("aa", migrate)
        with pytest.raises(files.Locked, match=r"^somebody else keeps it for more than 0\.02 s$"):
            Templates(directory).build("aa", migrate)
    done.set()
    thread.join()
    assert migrate.runs == 0
