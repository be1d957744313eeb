"""Files of django-sqlite-user-db 0.1.2, made by that package itself, become user databases; nothing is lost."""

import io
import os
import re
import shutil
import signal
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from dsud import provisioning
from dsud.adoption import contents
from dsud.adoption import files as adoption
from dsud.adoption.files import NoSuchDirectory, NotAdopted, adopt_file, adopt_files
from dsud.context import use_user
from dsud.engines import engine
from dsud.engines.ranges import number_of
from dsud.engines.sqlite import files as places
from dsud.exceptions import NotSupportedByEngine, UserDatabaseUnavailable
from dsud.models import UserDatabase
from dsud.opening import as_they_are
from dsud.signals import user_database_provisioned
from tests.archive.models import Draft, Sheet
from tests.library.models import Book, Loan
from tests.notes.models import Note, Tag
from tests.sites import ROOT, Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

#: What ``tests/old_site/make.py`` made.
OLD = ROOT / "tests/old_site/files"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return what ``USER_DB_DIR`` named, with the files of four users, and the template."""
    return shutil.copytree(OLD, tmp_path / "db" / "users")


@pytest.fixture
def people(settings: pytest_django.Settings) -> list[User]:
    """Return the users of the older site, in whose ``default`` they are."""
    settings.DSUD_PROVISION = []
    names = ("alice", "bob", "carol", "dave")
    return [User.objects.create(pk=pk, username=name) for pk, name in enumerate(names, start=1)]


def texts(user: object) -> list[str]:
    with use_user(user), as_they_are():
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def raw(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on a file as the older package would, and return what the last one gives."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def test_adopt_files__makes_user_databases_of_them(old: Path, people: list[User]) -> None:
    before = bytes_of(old)
    adoption = adopt_files(old)
    call_command("migrate_user_dbs", stdout=io.StringIO())

    assert adoption.failures == {}
    assert [each.user_key for each in adoption.adopted] == ["1", "2", "3", "4"]
    assert [path.name for path in adoption.left] == ["user_template.sqlite3"]
    assert [texts(user) for user in people] == [["soup", "bread"], ["bike"], [], ["garden"]]
    assert bytes_of(old) == before
    rows = UserDatabase.objects.order_by("pk").values_list("user_key", "state", "last_error")
    assert list(rows) == [(str(user.pk), "ready", "") for user in people]


def command(old: Path, *options: str) -> list[str]:
    """Return the lines that the command prints."""
    output = io.StringIO()
    call_command("split_to_user_dbs", "--adopt-files", str(old), *options, stdout=output)
    return output.getvalue().splitlines()


def test_command__takes_over_a_directory(old: Path, people: list[User]) -> None:
    left = "user_template.sqlite3 is named after nobody and is left where it is."
    lines = command(old, "--dry-run", "--user", "alice")
    assert lines[0] == left
    assert re.fullmatch(r"User 1: \d+ rows to be taken over\.", lines[1])
    assert lines[2:] == ["1 of 1 user databases looked at."]
    assert not UserDatabase.objects.exists()

    assert command(old, "--exclude", "dave")[-1] == "3 of 3 user databases filled."
    again = command(old)
    assert [line.partition(" rows ")[2] for line in again[1:5]] == [
        *["taken over before."] * 3,
        "taken over.",
    ]
    call_command("migrate_user_dbs", stdout=io.StringIO())
    assert texts(people[3]) == ["garden"]


def test_command__names_the_user_whose_file_is_broken(old: Path, people: list[User]) -> None:
    (old / "user_2.sqlite3").write_bytes(b"no database")
    with pytest.raises(CommandError, match=r"1 user databases failed.*\n  2: ") as caught:
        command(old)
    assert caught.value.returncode == 1
    assert UserDatabase.objects.filter(state="ready").count() == 3


def test_command__names_the_directory_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        command(tmp_path / "nowhere")
    assert caught.value.returncode == 2
    assert str(caught.value).endswith("Give the one that USER_DB_DIR named.")


def test_adopt_file__rows_and_relations_are_all_there(old: Path, people: list[User]) -> None:
    adopted = adopt_file("1", old / "user_1.sqlite3")
    call_command("migrate_user_dbs", stdout=io.StringIO())

    assert adopted.contents.dropped == {}
    assert adopted.contents.unknown == {}
    filled = {table: rows for table, rows in adopted.contents.kept.items() if rows}
    assert filled == {
        "archive_draft": 1,
        "archive_folder": 1,
        "archive_sheet": 1,
        "notes_note": 2,
        "notes_note_tags": 2,
        "notes_tag": 1,
    }
    with use_user(1):
        assert [note.tags.get().name for note in Note.objects.all()] == ["of alice"] * 2
        assert Draft.objects.get().folder.name == "f"
        assert Sheet.objects.get().draft.version == 2
        # The note 3 was deleted by the older site, and nobody gets its key again.
        assert Note.objects.create(text="new").pk == 4


def test_adopt_file__is_a_user_database_like_others(
    location: Path, old: Path, people: list[User]
) -> None:
    sent: list[str] = []

    def provisioned(user_key: str, **kwargs: object) -> None:
        sent.append(user_key)

    user_database_provisioned.connect(provisioned)
    try:
        adopt_file("1", old / "user_1.sqlite3")
    finally:
        user_database_provisioned.disconnect(provisioned)
    path = engine().path_of("1")
    assert sent == ["1"]
    assert {entry.name for entry in path.parent.iterdir()} >= {"db.sqlite3"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert raw(path, "PRAGMA journal_mode") == [("wal",)]
    assert raw(path, "PRAGMA auto_vacuum") == [(2,)]
    assert raw(path, "PRAGMA application_id") == [(0x44535544,)]
    assert raw(path, "SELECT user_key FROM dsud_identity") == [("1",)]
    assert raw(path, "PRAGMA integrity_check") == [("ok",)]
    applied = raw(path, "SELECT app, name FROM django_migrations WHERE app = 'notes'")
    assert ("notes", "0001_initial") in applied
    assert [entry.name for entry in path.parent.parent.iterdir()] == ["1"]


def test_adopt_file__keys_to_shared_rows_work_that_the_older_package_could_not_write(
    old: Path, people: list[User]
) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        raw(
            old / "user_1.sqlite3",
            "PRAGMA foreign_keys = ON",
            "INSERT INTO library_loan (book_id, reader_id) VALUES (1, 1)",
        )
    adopt_file("1", old / "user_1.sqlite3")
    call_command("migrate_user_dbs", stdout=io.StringIO())
    with use_user(1):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader_id=1)
        assert Loan.objects.get().book.title == "Emma"
        assert Loan.objects.get().reader.username == "alice"
        assert Loan.objects.get(reader__username="alice").pk == 1


def test_adopt_file__shared_tables_are_dropped_and_their_content_with_them(
    old: Path, people: list[User]
) -> None:
    source = old / "user_4.sqlite3"
    (password,) = raw(source, "SELECT password FROM auth_user WHERE username = 'alice'")[0]
    assert str(password).encode() in source.read_bytes()
    adopted = adopt_file("4", source)

    dropped = {table: rows for table, rows in adopted.contents.dropped.items() if rows}
    assert dropped.pop("auth_permission") > 0
    assert dropped.pop("django_content_type") > 0
    assert dropped == {"auth_user": 4, "django_session": 1}
    path = engine().path_of("4")
    left = {str(name) for (name,) in raw(path, "SELECT name FROM sqlite_master")}
    assert not left & {"auth_user", "django_session", "library_book"}
    assert str(password).encode() not in path.read_bytes()


def test_adopt_file__unknown_tables_are_kept_and_named(old: Path, people: list[User]) -> None:
    source = old / "user_1.sqlite3"
    raw(
        source,
        "CREATE TABLE notes_from_before (id INTEGER PRIMARY KEY, text TEXT REFERENCES notes_tag(name))",
        "INSERT INTO notes_from_before VALUES (1, 'of alice')",
        "CREATE VIRTUAL TABLE search USING fts5(text)",
        "INSERT INTO search VALUES ('find me')",
        "CREATE VIEW loud AS SELECT upper(text) FROM notes_note",
    )
    adopted = adopt_file("1", source)
    assert adopted.contents.unknown["notes_from_before"] == 1
    assert adopted.contents.unknown["search"] == 1
    path = engine().path_of("1")
    assert raw(path, "SELECT text FROM notes_from_before") == [("of alice",)]
    assert raw(path, "SELECT text FROM search WHERE search MATCH 'find'") == [("find me",)]
    assert raw(path, "SELECT * FROM loud") == [("SOUP",), ("BREAD",)]


def test_adopt_file__takes_along_what_is_in_the_wal(old: Path, people: list[User]) -> None:
    """A copy of the file alone would lose it."""
    source = old / "user_2.sqlite3"
    with closing(sqlite3.connect(source, isolation_level=None)) as site:
        site.execute("PRAGMA journal_mode = WAL")
        site.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        site.execute("INSERT INTO notes_note (text) VALUES ('just written')")
        wal = source.with_name(source.name + "-wal")
        before = source.read_bytes(), wal.read_bytes()
        adopt_file("2", source)
        assert (source.read_bytes(), wal.read_bytes()) == before
        assert site.execute("SELECT count(*) FROM notes_note").fetchone() == (2,)
    assert texts(2) == ["bike", "just written"]
    assert raw(engine().path_of("2"), "PRAGMA auto_vacuum") == [(2,)]


def test_adopt_files__again_changes_nothing(old: Path, people: list[User]) -> None:
    adopt_files(old)
    with use_user(1), as_they_are():
        Note.objects.create(text="written since")
    raw(old / "user_1.sqlite3", "INSERT INTO notes_note (text) VALUES ('written by the old site')")
    again = adopt_files(old)
    assert [each.now for each in again.adopted] == [False] * 4
    assert again.failures == {}
    assert texts(1) == ["soup", "bread", "written since"]


def test_adopt_files__only_looking_makes_nothing(
    location: Path, old: Path, people: list[User]
) -> None:
    before = bytes_of(old)
    adoption = adopt_files(old, only_looks=True)
    assert [each.contents.kept["notes_note"] for each in adoption.adopted] == [2, 1, 0, 1]
    assert [each.now for each in adoption.adopted] == [False] * 4
    assert not location.exists()
    assert bytes_of(old) == before
    assert UserDatabase.objects.count() == 0


def test_adopt_files__beside_user_databases_on_the_same_disk(
    location: Path, old: Path, people: list[User], settings: pytest_django.Settings
) -> None:
    """``LOCATION`` may be the directory that ``USER_DB_DIR`` named."""
    location.mkdir(parents=True)
    for path in old.iterdir():
        shutil.copyfile(path, location / path.name)
    adoption = adopt_files(location)
    assert adoption.failures == {}
    assert sorted(engine().keys()) == ["1", "2", "3", "4"]
    assert [path.name for path in adopt_files(location).left] == [
        ".dsud",
        "user_template.sqlite3",
    ]


def test_adopt_file__in_the_place_of_an_empty_database(
    location: Path, old: Path, people: list[User]
) -> None:
    provisioning.provision("1")
    with use_user(1), as_they_are():
        assert Note.objects.count() == 0
        adopt_file("1", old / "user_1.sqlite3")
        assert Note.objects.count() == 2
    names = sorted(path.name for path in location.glob("??/1/*"))
    assert names == ["1.deleted", "2"]


def test_adopt_file__database_with_rows_is_refused(old: Path, people: list[User]) -> None:
    provisioning.provision("1")
    with use_user(1):
        Note.objects.create(text="mine").tags.add(Tag.objects.create(name="x"))
    with pytest.raises(NotAdopted) as caught:
        adopt_file("1", old / "user_1.sqlite3")
    assert str(caught.value) == (
        "The database of user '1' has rows already: notes_note, notes_note_tags, notes_tag."
        " They were left as they are, and so was the file."
    )
    assert texts(1) == ["mine"]


def test_adopt_file__registered_database_that_is_lost_is_not_replaced(
    location: Path, old: Path, people: list[User]
) -> None:
    provisioning.provision("1")
    shutil.rmtree(engine().path_of("1").parent)
    with pytest.raises(UserDatabaseUnavailable, match="registered but its file is missing"):
        adopt_file("1", old / "user_1.sqlite3")
    shutil.rmtree(location)
    with pytest.raises(UserDatabaseUnavailable, match="has lost those that are registered"):
        adopt_file("1", old / "user_1.sqlite3")
    assert not location.exists()


def test_adopt_files__gives_ranges_of_keys(
    old: Path, people: list[User], settings: pytest_django.Settings
) -> None:
    settings.DSUD_DISTINCT_KEYS = True
    adopt_files(old)
    with use_user(1), as_they_are():
        assert sorted(Note.objects.values_list("pk", flat=True)) == [1, 2]
        assert number_of(Note.objects.create(text="new").pk) > 0


# Whose a file is


def test_find_files__names_that_are_nobodys(old: Path, people: list[User]) -> None:
    (old / "archive").mkdir()
    strange = ["user_.sqlite3", "user_007.sqlite3", "user_None.sqlite3", "user_1.sqlite3.bak"]
    for name in (*strange, "notes.txt", "user_1.sqlite3-journal"):
        (old / name).touch()
    found = adoption.find_files(old)
    assert list(found.files) == ["1", "2", "3", "4"]
    names = sorted([*strange, "notes.txt", "user_template.sqlite3"])
    assert [path.name for path in found.left] == names


def test_find_files__no_directory(tmp_path: Path) -> None:
    with pytest.raises(NoSuchDirectory) as caught:
        adopt_files(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere'} is no directory. Give the one that USER_DB_DIR named."
    )


def test_adopt_files__user_who_is_gone(old: Path, people: list[User]) -> None:
    people[1].delete()
    adoption = adopt_files(old)
    assert [each.user_key for each in adoption.adopted] == ["1", "3", "4"]
    assert {key: str(error) for key, error in adoption.failures.items()} == {
        "2": "There is no user '2' in `default`, so the file was left where it is."
    }
    assert not engine().exists("2")


def test_adopt_file__user_who_is_deleted_meanwhile(old: Path, people: list[User]) -> None:
    UserDatabase.objects.create(user_key="1", state="pending")
    register = provisioning.register

    def deleted_before(key: str, *, current: bool) -> bool:
        UserDatabase.objects.filter(user_key=key).update(state="deleted")
        return register(key, current=current)

    with mock.patch.object(provisioning, "register", deleted_before):
        adopt_file("1", old / "user_1.sqlite3")
    assert not engine().exists("1")


# What can be wrong with a file


def cut(path: Path) -> None:
    os.truncate(path, 20_000)


def scribble(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)


def lock(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def kill_while_writing(path: Path) -> None:
    child = os.fork()
    if child == 0:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO notes_note (text) VALUES (?)", [["x" * 500]] * 3000)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def orphan(path: Path) -> None:
    raw(path, "INSERT INTO notes_note_tags (note_id, tag_id) VALUES (99, 1)")


def become_ours(path: Path) -> None:
    raw(path, f"PRAGMA application_id = {0x44535544}")


def hide_a_key(path: Path) -> None:
    raw(
        path,
        "CREATE TABLE odd (a INTEGER, FOREIGN KEY (a) REFERENCES [nowhere of all] (id))",
    )


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (cut, "database disk image is malformed"),
        (scribble, "file is not a database"),
        (lock, "database is locked"),
        (
            kill_while_writing,
            (
                "a process was killed while it wrote to it; have the older site open it once, which"
                " takes back what was not committed"
            ),
        ),
        (
            orphan,
            "row 3 of the table notes_note_tags has a key to a row of notes_note that is not there",
        ),
        (become_ours, "it is a user database of this version already"),
        (hide_a_key, "the table odd has a key to nowhere of all, which is not there"),
    ],
)
def test_adopt_files__one_that_fails_stops_nobody_else(
    location: Path,
    old: Path,
    people: list[User],
    damage: Callable[[Path], sqlite3.Connection | None],
    cause: str,
) -> None:
    held = damage(old / "user_1.sqlite3")
    before = bytes_of(old)
    adoption = adopt_files(old)
    if held is not None:
        held.close()

    assert [each.user_key for each in adoption.adopted] == ["2", "3", "4"]
    assert {key: str(error) for key, error in adoption.failures.items()} == {
        "1": f"The file user_1.sqlite3 of user '1' was not taken over: {cause}."
        " Nothing was changed; mend the cause and run this again."
    }
    assert isinstance(adoption.failures["1"], NotAdopted)
    assert bytes_of(old) == before
    assert not list(location.glob("??/1/*"))


def test_adopt_file__full_disk_leaves_nothing(
    location: Path, old: Path, people: list[User]
) -> None:
    with (
        mock.patch.object(places, "sync_file", side_effect=OSError(28, "No space left on device")),
        pytest.raises(NotAdopted, match="No space left on device"),
    ):
        adopt_file("1", old / "user_1.sqlite3")
    assert not list(location.glob("??/1/*"))
    assert UserDatabase.objects.count() == 0
    assert adopt_file("1", old / "user_1.sqlite3").now


def test_adopt_file__copy_that_lacks_rows_is_not_published(old: Path, people: list[User]) -> None:
    def lose(copy: sqlite3.Connection, found: contents.Contents) -> None:
        copy.execute("DELETE FROM notes_note WHERE text = 'bread'")

    with (
        mock.patch.object(adoption, "fit", lose),
        pytest.raises(NotAdopted, match="the copy has other rows than the file"),
    ):
        adopt_file("1", old / "user_1.sqlite3")
    assert not engine().exists("1")


def test_adopt_file__engine_that_keeps_no_files(
    old: Path, people: list[User], settings: pytest_django.Settings, tmp_path: Path
) -> None:
    settings.USER_DATABASES = {
        "default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path / "flat"}
    }
    with pytest.raises(NotSupportedByEngine, match="cannot take over SQLite files"):
        adopt_file("1", old / "user_1.sqlite3")


def test_definition__without_keys_to_tables_that_are_not_there(tmp_path: Path) -> None:
    """However they are spelt; those that can be checked stay."""
    path = tmp_path / "some.sqlite3"
    raw(
        path,
        "CREATE TABLE here (id INTEGER PRIMARY KEY)",
        'CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES "gone" ("id")'
        " DEFERRABLE INITIALLY DEFERRED, b INTEGER REFERENCES gone(id) ON DELETE SET NULL NOT"
        " DEFERRABLE, c INTEGER NULL REFERENCES here (id) DEFERRABLE INITIALLY DEFERRED,"
        " d TEXT DEFAULT 'REFERENCES' references GONE (id) on update cascade CHECK (d <> ''))",
        "INSERT INTO t (id, a, b, d) VALUES (1, 2, 3, 'x')",
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        contents.fit(connection, contents.Contents({}, {}, {}))
    sql = raw(path, "SELECT sql FROM sqlite_master WHERE name = 't'")
    assert sql == [
        (
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b INTEGER,"
                " c INTEGER NULL REFERENCES here (id) DEFERRABLE INITIALLY DEFERRED,"
                " d TEXT DEFAULT 'REFERENCES' CHECK (d <> ''))"
            ),
        )
    ]
    assert raw(
        path, "PRAGMA foreign_keys = ON", "UPDATE t SET a = 9", "SELECT a, b, c, d FROM t"
    ) == [(9, 3, None, "x")]
    assert raw(path, "PRAGMA integrity_check") == [("ok",)]


# Killed at any moment


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1_511, pytest.param(211, marks=pytest.mark.once)])
def test_adopt_files__killed_at_any_moment_goes_on(tmp_path: Path, calls: int) -> None:
    old = shutil.copytree(OLD, tmp_path / "old")
    site = Site(tmp_path / "site")
    site.directory.mkdir()
    printed = site.run(
        """
from pathlib import Path
from django.conf import settings
from dsud import retirement
from dsud.adoption.files import adopt_file
from tests.notes.models import Note
settings.DSUD_PROVISION = []
call_command("migrate", verbosity=0)
old = Path(sys.argv[1])
for pk in range(1, 5):
    User.objects.create(pk=pk, username=f"user{pk}")
    provisioning.provision(str(pk))

class KilledAt:
    def __init__(self, moment):
        self.left = moment
    def __enter__(self):
        sys.setprofile(self.count)
    def count(self, frame, event, argument):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def __exit__(self, *raised):
        sys.setprofile(None)

def texts(pk):
    with use_user(pk), as_they_are():
        return list(Note.objects.values_list("text", flat=True))

expected = {1: ["soup", "bread"], 2: ["bike"], 3: [], 4: ["garden"]}
killed = 0
moment = 200
while True:
    def adopt(index):
        with KilledAt(moment):
            adopt_file("1", old / "user_1.sqlite3")
    (status,) = in_children(1, adopt)
    if status == 0:
        break
    assert status == -signal.SIGKILL, status
    killed += 1
    assert texts(1) in ([], expected[1]), texts(1)
    if UserDatabase.objects.get(user_key="1").state == "ready" and texts(1):
        # Published by the one that was killed: start over with an empty one.
        adopt_file("1", old / "user_1.sqlite3")
        assert texts(1) == expected[1]
    if texts(1):
        with engine().lock("1"):
            retirement.take_out_of_service("1")
        provisioning.provision("1", lost=True)
    moment += int(sys.argv[2])
assert killed > 5, killed
adopt_file("1", old / "user_1.sqlite3")
assert texts(1) == expected[1]
print(killed)
""",
        str(old),
        str(calls),
    )
    assert int(printed) > 5
