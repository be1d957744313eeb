"""The bytes of a new database: the template's, its owner's name, WAL mode, nothing else."""

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dsud.engines.sqlite import image
from dsud.engines.sqlite.paths import uri_of
from dsud.engines.staged import Rows


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.sqlite3"
    image.prepare_template(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
        connection.execute("INSERT INTO note (text) VALUES ('welcome')")
    return path


def write(path: Path, data: bytes) -> None:
    path.write_bytes(b"".join(image.in_wal_mode(data)))


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(uri_of(path, mode="rw"), uri=True)) as connection:
        return connection.execute(statement).fetchall()


def test_clone__is_the_template_with_its_owners_name_in_wal_mode(template: Path) -> None:
    clone = template.with_name("clone.sqlite3")
    write(clone, image.clone(image.read_template(template), "alice"))

    assert query(clone, "PRAGMA journal_mode") == [("wal",)]
    assert query(clone, "SELECT user_key FROM dsud_identity") == [("alice",)]
    assert query(clone, "SELECT id, text FROM note") == [(1, "welcome")]
    assert query(clone, "PRAGMA integrity_check") == [("ok",)]
    assert query(clone, "PRAGMA auto_vacuum") == [(2,)]
    assert query(clone, "PRAGMA application_id") == [(0x44535544,)]
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert query(clone, schema) == query(template, schema)


def test_clone__leaves_the_template_as_it_is(template: Path) -> None:
    before = image.read_template(template)
    image.clone(before, "alice")
    assert image.read_template(template) == before == template.read_bytes()
    assert query(template, "SELECT * FROM dsud_identity") == []
    assert query(template, "PRAGMA journal_mode") == [("delete",)]


@pytest.mark.parametrize("key", ["é", "名前", "'; DROP TABLE note; --", "x" * 240])
def test_clone__any_key_is_read_back(template: Path, key: str) -> None:
    clone = template.with_name("clone.sqlite3")
    write(clone, image.clone(image.read_template(template), key))
    assert query(clone, image.READ_IDENTITY) == [(key,)]


SECRET = Rows("note", ["text"], [["a secret of alice's " * 400]])


def test_clone__has_nothing_of_the_one_before(template: Path) -> None:
    data = image.read_template(template)
    first = image.clone(data, "bob")
    assert b"secret" in image.clone(data, "alice", rows=[SECRET])
    assert image.clone(data, "bob") == first


TYPES = Rows("note", ["text"], [["a type"]], for_all=True)


def texts(data: bytes) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(data)
        return [text for (text,) in connection.execute("SELECT text FROM note ORDER BY id")]


def test_clone__rows_for_all_stay_for_the_next_one(template: Path) -> None:
    data = image.read_template(template)
    assert texts(image.clone(data, "alice", rows=[TYPES, SECRET])) == [
        "welcome",
        "a type",
        *SECRET.values[0],
    ]
    press = image._presses.of(data, (TYPES,))
    assert texts(image.clone(data, "bob", rows=[TYPES])) == ["welcome", "a type"]
    assert image._presses.of(data, (TYPES,)) is press


def test_clone__rows_for_all_that_have_changed(template: Path) -> None:
    data = image.read_template(template)
    image.clone(data, "alice", rows=[TYPES])
    others = Rows("note", ["text"], [["another type"]], for_all=True)
    assert texts(image.clone(data, "bob", rows=[others])) == ["welcome", "another type"]
    assert texts(image.clone(data, "eve")) == ["welcome"]


def test_clone__after_rows_for_all_that_failed(template: Path) -> None:
    data = image.read_template(template)
    nowhere = Rows("nowhere", ["text"], [["x"]], for_all=True)
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        image.clone(data, "alice", rows=[TYPES, nowhere])
    assert texts(image.clone(data, "bob", rows=[TYPES])) == ["welcome", "a type"]


def test_clone__after_one_that_failed(template: Path) -> None:
    data = image.read_template(template)
    first = image.clone(data, "bob")
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        image.clone(data, "alice", rows=[SECRET, Rows("nowhere", ["text"], [["x"]])])
    assert image.clone(data, "bob") == first


def test_clone__of_another_template(template: Path) -> None:
    other = image.read_template(template)
    with closing(sqlite3.connect(template)) as connection, connection:
        connection.execute("CREATE TABLE tag (name TEXT)")
    data = image.read_template(template)
    assert b"CREATE TABLE tag" not in image.clone(other, "alice")
    assert b"CREATE TABLE tag" in image.clone(data, "alice")
    assert b"CREATE TABLE tag" not in image.clone(other, "alice")


def test_clone__in_a_thread_that_ends__closes_what_it_kept(template: Path) -> None:
    data = image.read_template(template)
    kept = []

    def make() -> None:
        image.clone(data, "alice")
        kept.append(image._presses.of(data).connection)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        kept[0].execute("SELECT 1")


def make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def overwrite_a_page(path: Path) -> None:
    (page,) = query(path, "SELECT rootpage FROM sqlite_master WHERE name = 'note'")[0]
    with path.open("r+b") as file:
        file.seek((int(str(page)) - 1) * 4096)
        file.write(b"\xaa" * 4096)


def change_application_id(path: Path) -> None:
    query(path, "PRAGMA application_id = 42")


def put_a_plain_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (id INTEGER)")


def put_somebodys_database(path: Path) -> None:
    path.write_bytes(image.clone(image.read_template(path), "eve"))


@pytest.mark.parametrize(
    "damage",
    [
        make_a_directory,
        overwrite_a_page,
        change_application_id,
        put_a_plain_database,
        put_somebodys_database,
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(os.urandom(8192)), id="garbage"),
        pytest.param(lambda path: os.truncate(path, 6000), id="truncated"),
    ],
)
def test_read_template__refuses_what_is_no_sound_template(
    template: Path, damage: Callable[[Path], object]
) -> None:
    damage(template)
    before = template.exists()
    with pytest.raises(sqlite3.Error):
        image.read_template(template)
    assert template.exists() is before
