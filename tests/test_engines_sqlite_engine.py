"""The SQLite engine: what may be written in the settings, what is opened and what is refused."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.conf import settings as live_settings
from django.contrib.auth.models import User
from django.db import connections

from dsud import engines, provisioning
from dsud.conf import conf
from dsud.connections import alias_of, release
from dsud.context import use_user
from dsud.engines.sqlite import Engine, image
from dsud.engines.sqlite.paths import uri_of, user_directory
from dsud.exceptions import (
    InvalidEngine,
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)
from dsud.leases import Force
from dsud.models import UserDatabase
from dsud.pool import pool
from tests.notes.models import Note

# What the settings may say


@pytest.mark.parametrize(
    ("databases", "message"),
    [
        (
            {},
            (
                "USER_DATABASES has no entry 'default'. Write USER_DATABASES ="
                ' {"default": {"ENGINE": "dsud.engines.sqlite", "LOCATION": ...}}.'
            ),
        ),
        (
            None,
            (
                "USER_DATABASES has no entry 'default'. Write USER_DATABASES ="
                ' {"default": {"ENGINE": "dsud.engines.sqlite", "LOCATION": ...}}.'
            ),
        ),
        (
            {"default": {"ENGINE": "dsud.engines.sqlite"}},
            (
                "USER_DATABASES['default'] has no LOCATION, and without USER_DATABASES the settings need"
                " a BASE_DIR to put it beside. Write USER_DATABASES = {'default':"
                " {'ENGINE': 'dsud.engines.sqlite', 'LOCATION': '/path/to/user_databases'}}."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "PATH": "/y", "NAME": "z"}},
            (
                "USER_DATABASES['default'] has unknown keys: NAME, PATH."
                " It takes ENGINE, LOCATION and OPTIONS."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "ENGINE": "django.db.backends.sqlite3"}},
            (
                "USER_DATABASES['default']['ENGINE'] is 'django.db.backends.sqlite3', which is not an"
                " engine: module 'django.db.backends.sqlite3' has no attribute 'Engine'."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "ENGINE": "no.such.engine"}},
            (
                "USER_DATABASES['default']['ENGINE'] is 'no.such.engine', which is not an engine:"
                " No module named 'no'."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "ENGINE": ""}},
            "USER_DATABASES['default']['ENGINE'] is '', which is not an engine: Empty module name.",
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": {"cache": 1, "WAL": True}}},
            (
                "USER_DATABASES['default']['OPTIONS'] has unknown names: WAL, cache."
                " It takes timeout, synchronous, cache_size, transaction_mode."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": None}},
            "USER_DATABASES['default']['OPTIONS'] is no dict.",
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": {"synchronous": "safe"}}},
            (
                "USER_DATABASES['default']['OPTIONS']['synchronous'] is 'safe'."
                " It takes one of OFF, NORMAL, FULL, EXTRA."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": {"transaction_mode": "LATER"}}},
            (
                "USER_DATABASES['default']['OPTIONS']['transaction_mode'] is 'LATER'."
                " It takes one of DEFERRED, IMMEDIATE, EXCLUSIVE."
            ),
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": {"timeout": "5"}}},
            "USER_DATABASES['default']['OPTIONS']['timeout'] is '5'. It takes a number of seconds.",
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": {"cache_size": 0}}},
            "USER_DATABASES['default']['OPTIONS']['cache_size'] is 0. It takes a number of KiB.",
        ),
        (
            {"default": {"LOCATION": "/x", "OPTIONS": {"cache_size": 1.5}}},
            "USER_DATABASES['default']['OPTIONS']['cache_size'] is 1.5. It takes a number of KiB.",
        ),
    ],
)
def test_engine__setting_that_cannot_be_used(
    settings: pytest_django.Settings, databases: object, message: str
) -> None:
    settings.USER_DATABASES = databases
    with pytest.raises(InvalidEngine) as caught:
        engines.engine()
    assert str(caught.value) == message


def test_engine__default_location_is_beside_the_project(settings: pytest_django.Settings) -> None:
    assert built().location == live_settings.BASE_DIR / "user_databases"
    settings.BASE_DIR = Path("/elsewhere")
    assert built().location == Path("/elsewhere/user_databases")


def built() -> engines.BaseEngine:
    """Build the engine as a site does, which tests do not use."""
    return engines.build("default", conf.USER_DATABASES)


def test_engine__without_base_dir_there_is_no_default(settings: pytest_django.Settings) -> None:
    del settings.BASE_DIR
    engines.forget()  # Because pytest-django tells nobody of what it deletes.
    with pytest.raises(InvalidEngine, match=r"^USER_DATABASES\['default'\] has no LOCATION"):
        engines.engine()


def test_engine__is_built_once(location: Path) -> None:
    assert engines.engine() is engines.engine()


# Opening


@pytest.mark.parametrize("name", ["plain", "a b", "a?mode=memory", "a#b", "a%41", "é", "a&vfs=x"])
def test_open__location_whose_name_means_something_in_a_uri(tmp_path: Path, name: str) -> None:
    location = tmp_path / name
    here = Engine("default", {"LOCATION": location})
    for user_key in ("7", "Bob & Zoë?", "con", "%41"):
        for number in ("1", "2", "new-0123456789ab"):
            path = user_directory(location, user_key) / number / "db.sqlite3"
            assert here._uri_of(str(path)) == uri_of(path, mode="rw")
            path.parent.mkdir(parents=True)
            sqlite3.connect(path).close()
            path.touch()
            with closing(sqlite3.connect(here._uri_of(str(path)), uri=True)) as opened:
                assert opened.execute("PRAGMA database_list").fetchone()[2] == str(path)
    beside = tmp_path / f"{name}-beside" / "db.sqlite3"
    assert here._uri_of(str(beside)) == uri_of(beside, mode="rw")


@pytest.fixture
def database(transactional_db: None, location: Path) -> Path:
    """Make the database of user 7, who is registered, and return its path."""
    make("7")
    return path_of("7")


def make(key: str) -> None:
    engine = engines.engine()
    engine.initialize()
    with engine.lock(key):
        engine.stage(key, provisioning.prepare()).publish()
    provisioning.register(key, current=True)


def path_of(key: str) -> Path:
    path = engines.engine().path_of(key)
    assert path is not None
    return path


def tree(location: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(location)): path.read_bytes() if path.is_file() else None
        for path in sorted(location.rglob("*"))
    }


def read(key: str = "7") -> int:
    with use_user(key):
        return Note.objects.count()


def test_open__makes_nothing_and_never_creates(database: Path) -> None:
    assert read() == 0
    connection = connections[alias_of("7")]
    with use_user("7"):
        Note.objects.count()
        assert connection.settings_dict["NAME"] == str(database)
        (row,) = connection.cursor().execute("PRAGMA database_list").fetchall()
        assert row[2] == str(database)


def test_open__file_that_goes_away_in_between_is_not_made_anew(
    database: Path, location: Path
) -> None:
    gone = database.with_name("gone.sqlite3")
    before = tree(location)
    with (
        mock.patch.object(engines.engine(), "_usual_name", return_value=str(gone)),
        mock.patch.object(engines.engine(), "_live_name", return_value=str(gone)),
        pytest.raises(UserDatabaseUnavailable) as caught,
    ):
        read()
    assert str(caught.value) == UNUSABLE.format("unable to open database file")
    assert tree(location) == before


def test_open__files_are_private_with_their_sidecars(database: Path, location: Path) -> None:
    with use_user("7"):
        Note.objects.create(text="x")
        made = [location, *location.rglob("*")]
    assert {path.name for path in made} >= {"db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"}
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def remove(path: Path) -> None:
    path.unlink()


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parents[1])


def put_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    os.truncate(path, 1000)


def garble(path: Path) -> None:
    path.write_bytes(b"no database at all, whatever its name says. " * 500)


def put_a_plain_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes_note (id INTEGER, text TEXT)")


def change_application_id(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA application_id = 42")


def remove_identity(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("DELETE FROM dsud_identity")


def put_anothers(path: Path) -> None:
    path.write_bytes(image.clone(engines.engine()._templates.read(provisioning.prepare()), "8"))


def link_to_anothers(path: Path) -> None:
    make("8")
    path.unlink()
    path.symlink_to(path_of("8"))


MISSING = (
    "The database of user '7' is registered but its file is missing."
    " Bring its disk or its backup back; nothing was made in its place."
    " If it is lost for good, make an empty one with `manage.py create_user_db --user 7 --lost`."
)
UNUSABLE = (
    "The database of user '7' cannot be used: {}."
    " Look at the file and its permissions, or restore it from a backup."
)
NOT_OURS = (
    "The file in the place of user '7' is a database, but not a user database."
    " Put the user's own file back or restore it from a backup."
)
FOREIGN = (
    "The file in the place of user '7' belongs to {}."
    " Put the user's own file back or restore it from a backup."
)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, MISSING),
        (remove_directory, MISSING),
        (put_a_directory, UNUSABLE.format("unable to open database file")),
        (empty, NOT_OURS),
        (truncate, UNUSABLE.format("database disk image is malformed")),
        (garble, UNUSABLE.format("file is not a database")),
        (put_a_plain_database, NOT_OURS),
        (change_application_id, NOT_OURS),
        (remove_identity, FOREIGN.format("nobody")),
        (put_anothers, FOREIGN.format("'8'")),
        (link_to_anothers, FOREIGN.format("'8'")),
    ],
)
def test_open__file_that_is_not_the_users_is_refused_and_left_alone(
    database: Path, location: Path, spoil: Callable[[Path], None], message: str
) -> None:
    make("9")
    spoil(database)
    before = tree(location)

    for _ in range(2):
        with pytest.raises(UserDatabaseUnavailable) as caught:
            read()
        assert str(caught.value) == message
        assert caught.value.user_key == "7"
    assert {name: before[name] for name in before if "9" not in name} == {
        name: content for name, content in tree(location).items() if "9" not in name
    }
    assert read("9") == 0
    assert UserDatabase.objects.get(user_key="7").state == "ready"


def test_open__corrupt_in_the_middle_is_found_out_in_the_query(database: Path) -> None:
    with use_user("7"):
        Note.objects.bulk_create([Note(text="x" * 500) for _ in range(200)])
    release(force=Force.EVERYTHING)
    pool.close_idle()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'notes_note'"
        ).fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    with use_user("7"), pytest.raises(UserDatabaseUnavailable) as caught:
        list(Note.objects.all())
    assert str(caught.value) == UNUSABLE.format("database disk image is malformed")


def test_open__stale_wal_beside_the_database_is_not_replayed(
    database: Path, location: Path, tmp_path: Path
) -> None:
    with use_user("7"):
        Note.objects.create(text="of somebody who is gone")
        stale = database.with_name("db.sqlite3-wal").read_bytes()
    assert b"of somebody who is gone" in stale
    release(force=Force.EVERYTHING)
    pool.close_idle()
    with engines.engine().lock("7"):
        engines.engine().delete("7")
    # What a careless administrator may leave: the sidecar where the next database will be.
    (database.parents[1] / "2").mkdir()
    (database.parents[1] / "2" / "db.sqlite3-wal").write_bytes(stale)
    make("7")

    assert path_of("7").parent.name == "3"
    assert read() == 0


def test_open__disk_that_cannot_tell(database: Path) -> None:
    database.unlink()  # As SQLite sees it.
    with (
        mock.patch.object(os, "stat", side_effect=OSError(5, "Input/output error")),
        pytest.raises(UserDatabaseUnavailable) as caught,
    ):
        read()
    assert str(caught.value) == (
        "The database of user '7' is out of reach: [Errno 5] Input/output error."
        " Look at the disk and its permissions."
    )


def test_open__without_a_provider_it_says_how_to_make_one(location: Path, db: None) -> None:
    with (
        mock.patch.object(Engine, "when_missing", None),
        pytest.raises(UserDatabaseDoesNotExist) as caught,
    ):
        read()
    assert str(caught.value) == (
        "User '7' has no database. Make one with `manage.py create_user_db --user 7`."
    )
    assert not location.exists()


# Options


@pytest.fixture
def options(
    settings: pytest_django.Settings, location: Path
) -> Iterator[Callable[..., sqlite3.Connection]]:
    """Return a function that opens a database with other OPTIONS."""

    def opened(**options: object) -> sqlite3.Connection:
        settings.USER_DATABASES = {"default": {"LOCATION": location, "OPTIONS": options}}
        make("7")
        forget_wrapper()
        connection = connections[alias_of("7")]
        connection.ensure_connection()
        return connection.connection

    def forget_wrapper() -> None:
        connections[alias_of("7")].close()
        del connections[alias_of("7")]  # Because it keeps the settings that it was made with.

    yield opened
    forget_wrapper()


def pragma(raw: sqlite3.Connection, name: str) -> object:
    return raw.execute(f"PRAGMA {name}").fetchone()[0]


def test_options__defaults(db: None, options: Callable[..., sqlite3.Connection]) -> None:
    raw = options()
    assert pragma(raw, "journal_mode") == "wal"
    assert pragma(raw, "synchronous") == 1
    assert pragma(raw, "cache_size") == -512
    assert pragma(raw, "busy_timeout") == 5000
    assert pragma(raw, "foreign_keys") == 1
    assert pragma(raw, "secure_delete") == 1
    assert pragma(raw, "mmap_size") == 0
    with pytest.raises(sqlite3.OperationalError, match="too many attached databases"):
        raw.execute("ATTACH ':memory:' AS other")
    assert connections[alias_of("7")].transaction_mode == "IMMEDIATE"


def test_options__take_effect(db: None, options: Callable[..., sqlite3.Connection]) -> None:
    raw = options(synchronous="FULL", cache_size=64, timeout=0.25, transaction_mode="DEFERRED")
    assert pragma(raw, "synchronous") == 2
    assert pragma(raw, "cache_size") == -64
    assert pragma(raw, "busy_timeout") == 250
    assert connections[alias_of("7")].transaction_mode == "DEFERRED"


def test_wal__stays_short_under_many_small_commits(database: Path) -> None:
    with use_user("7"):
        for number in range(120):
            Note.objects.create(text=str(number))
    wal = database.with_name(f"{database.name}-wal")
    assert 4096 * 16 < wal.stat().st_size < 4096 * 100


# Asking


def test_keys__each_user_with_a_database(database: Path) -> None:
    for key in ("../x", "Bob", "bob", "é"):
        make(key)
    assert sorted(engines.engine().keys()) == sorted(["7", "../x", "Bob", "bob", "é"])


def test_size__counts_the_wal(database: Path) -> None:
    engine = engines.engine()
    bare = database.stat().st_size
    assert engine.size("7") == bare
    with use_user("7"):
        Note.objects.create(text="x")
        wal = database.with_name("db.sqlite3-wal").stat().st_size
        assert wal > 0
        assert engine.size("7") == bare + wal
    with pytest.raises(UserDatabaseDoesNotExist, match=r"^User '8' has no database.$"):
        engine.size("8")


def test_delete__moves_everything_at_once_and_the_path_is_never_used_again(
    database: Path,
) -> None:
    engine = engines.engine()
    with use_user("7"):
        Note.objects.create(text="x")
        with engine.lock("7"):
            engine.delete("7")
        place = database.parents[1]
        assert sorted(path.name for path in place.iterdir()) == ["1.deleted"]
        assert sorted(path.name for path in (place / "1.deleted").iterdir()) == [
            "db.sqlite3",
            "db.sqlite3-shm",
            "db.sqlite3-wal",
        ]
        # Who still has it open reads on and harms nobody.
        assert Note.objects.count() == 1
    with engine.lock("7"), pytest.raises(UserDatabaseDoesNotExist):
        engine.delete("7")
    make("7")
    assert path_of("7").parent.name == "2"
    assert read() == 0


def test_publish__twice_is_refused(database: Path) -> None:
    engine = engines.engine()
    with engine.lock("7"):
        staged = engine.stage("7", provisioning.prepare())
        with pytest.raises(UserDatabaseAlreadyExists):
            staged.publish()
    del staged
    assert sorted(path.name for path in database.parents[1].iterdir()) == ["1"]


def test_discard__twice_does_nothing(location: Path, db: None) -> None:
    engine = engines.engine()
    engine.initialize()
    with engine.lock("7"):
        first = engine.stage("7", provisioning.prepare())
        first.discard()
        second = engine.stage("7", provisioning.prepare())
        first.discard()
        assert engine.staged_here("7") is second
        second.discard()
    assert engine.staged_here("7") is None
    assert not engine.exists("7")
    assert [path.name for path in location.glob("??/*/*")] == []


# Checks


def test_check__location_inside_a_static_directory_that_is_collected(
    location: Path, settings: pytest_django.Settings
) -> None:
    for entry in (location.parent, ("prefix", str(location.parent))):
        settings.STATICFILES_DIRS = [entry]
        (message,) = engines.engine().check()
        assert message.id == "dsud.E011"
        assert message.msg == (
            f"The location of user databases, {location}, is inside STATICFILES_DIRS:"
            " the web server would hand them to everybody."
        )
    settings.STATICFILES_DIRS = [location.parent / "static"]
    assert engines.engine().check() == []


def test_check__location_below_a_file(tmp_path: Path, settings: pytest_django.Settings) -> None:
    (tmp_path / "file").touch()
    location = tmp_path / "file" / "users"
    settings.USER_DATABASES = {"default": {"LOCATION": location}}
    (message,) = engines.engine().check()
    assert (message.id, message.msg) == (
        "dsud.E010",
        f"The location of user databases, {location}, cannot be written to.",
    )


def test_open__user_model_of_the_site_is_not_needed(database: Path) -> None:
    assert User.objects.count() == 0
    assert read() == 0
