"""SQL that an attacker has injected while a user is active reads and writes that user's file and no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connections
from django.db.models.expressions import RawSQL

from dsud import use_user
from tests.notes.models import Note

pytestmark = pytest.mark.django_db(transaction=True)

#: What SQLite, or Python's module, says to those who try.
REFUSALS = (DatabaseError, sqlite3.Error)

SECRET = "bob's secret"


class Site:
    """Alice, who is active; Bob, whose file is next to hers; a file that stands in for ``default``."""

    def __init__(self, location: Path, tmp_path: Path) -> None:
        self.location = location
        self.outside = tmp_path / "outside"
        self.outside.mkdir()
        self.alice, self.bob = (User.objects.create(username=name) for name in ("alice", "bob"))
        for user, text in [(self.alice, "alice's note"), (self.bob, SECRET)]:
            with use_user(user):
                Note.objects.create(text=text)
        self.files = {user.pk: self._file_of(user) for user in (self.alice, self.bob)}
        self.default = self.outside / "default.sqlite3"
        with closing(sqlite3.connect(self.default)) as connection, connection:
            connection.execute("CREATE TABLE notes_note (id, text)")
            connection.execute("INSERT INTO notes_note VALUES (1, ?)", [SECRET])
        self._before = self._others()

    def _file_of(self, user: User) -> Path:
        (found,) = self.location.glob(f"??/{user.pk}/1/db.sqlite3")
        return found

    def fill(self, payload: str) -> str:
        """Put the paths of this site into a payload."""
        return payload.format(
            bob=self.files[self.bob.pk],
            bob_pk=self.bob.pk,
            default=self.default,
            outside=self.outside,
            new=self.outside / "new",
        )

    def _others(self) -> object:
        """Return the names, sizes and times of all files but Alice's, and the rows in them."""
        own = self.files[self.alice.pk].parent
        roots = (self.location, self.outside)
        rows = [_rows(path) for path in (self.files[self.bob.pk], self.default)]
        files = [path for root in roots for path in root.rglob("*") if path.is_file()]
        others = sorted(path for path in files if own not in path.parents)
        stats = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in others]
        # Not the index of the -wal, which every reader changes.
        return [each for each in stats if not each[0].name.endswith("-shm")], rows

    def assert_others_untouched(self) -> None:
        """Assert that no other file was made, changed or removed."""
        assert self._others() == self._before


def _rows(path: Path) -> list[object]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT * FROM notes_note").fetchall()


@pytest.fixture
def site(location: Path, tmp_path: Path) -> Iterator[Site]:
    """Return the site, and look at all other files at the end."""
    site = Site(location, tmp_path)
    yield site
    site.assert_others_untouched()


def execute(sql: str) -> list[object]:
    """Execute SQL as a view does that formats strings."""
    with connections[Note.objects.db].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


# Where a value is expected

CAREFUL = "SELECT id, text FROM notes_note WHERE text = '%s'"
CARELESS: dict[str, Callable[[str], list[object]]] = {
    "raw": lambda value: [note.text for note in Note.objects.raw(CAREFUL % value)],
    "extra where": lambda value: list(
        Note.objects.extra(where=[f"text = '{value}'"]).values_list("id", "text")
    ),
    "extra select": lambda value: list(
        Note.objects.extra(select={"x": f"'{value}'"}).values_list("x", "text")
    ),
    "RawSQL": lambda value: list(
        Note.objects.annotate(x=RawSQL(f"'{value}'", [])).values_list("x", "text")
    ),
    "RawSQL filter": lambda value: list(
        Note.objects.filter(text__in=RawSQL(f"'{value}'", [])).values_list("text")
    ),
    "cursor": lambda value: execute(CAREFUL % value),
}
VALUES = {
    "load_extension": "x' OR load_extension('{outside}/evil') OR '",
    "readfile": "x' OR readfile('{bob}') OR '",
    "writefile": "x' OR writefile('{new}', 'x') OR '",
    "edit": "x' OR edit('x', 'touch {new}') OR '",
    "other file as table": 'x\' UNION SELECT id, text FROM "{bob}".notes_note --',
    "other schema": "x' UNION SELECT id, text FROM user_{bob_pk}.notes_note --",
    "fsdir": "x' UNION SELECT name, data FROM fsdir('{outside}') --",
    "csv": "x' UNION SELECT * FROM csv('{bob}') --",
    "pages": "x' UNION SELECT pgno, data FROM sqlite_dbpage('{bob}') --",
    "stacked attach": "x'; ATTACH '{bob}' AS b; SELECT * FROM b.notes_note --",
    "stacked vacuum": "x'; VACUUM INTO '{new}' --",
    "stacked attach of default": "x'; ATTACH '{default}' AS d; DELETE FROM d.notes_note --",
    "own rows": "x' OR '1'='1",
    "own schema": "x' UNION SELECT 1, sql FROM sqlite_master --",
    "own path": "x' UNION SELECT seq, file FROM pragma_database_list --",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("careless", CARELESS)
def test_value__that_leaves_its_quotes(site: Site, careless: str, value: str) -> None:
    seen: list[object] = []
    with use_user(site.alice):
        with suppress(*REFUSALS):
            seen = CARELESS[careless](site.fill(VALUES[value]))
        assert [note.text for note in Note.objects.all()] == ["alice's note"]
    assert SECRET not in str(seen)
    assert str(site.files[site.bob.pk]) not in str(seen)


def test_value__can_be_injected_at_all(site: Site) -> None:
    with use_user(site.alice):
        for careless in ("raw", "extra where", "cursor"):
            assert "alice's note" in str(CARELESS[careless](VALUES["own rows"]))


# Where a whole statement is expected

TOO_MANY = "too many attached databases - max 0|not authorized|authorization denied"
STATEMENTS = {
    "ATTACH '{bob}' AS b": TOO_MANY,
    "ATTACH '{default}' AS d": TOO_MANY,
    "ATTACH 'file:{bob}?mode=ro&immutable=1' AS b": TOO_MANY,
    "ATTACH '{new}' AS n": TOO_MANY,
    "ATTACH '' AS n": TOO_MANY,
    "ATTACH ':memory:' AS n": TOO_MANY,
    # VACUUM attaches the file that it writes, so the same limit stops it.
    "VACUUM INTO '{new}'": TOO_MANY,
    "VACUUM INTO '{bob}'": TOO_MANY,
    "VACUUM": TOO_MANY,
    "SELECT load_extension('{outside}/evil')": "not authorized|authorization denied",
    "SELECT load_extension('{outside}/evil', 'entry')": "not authorized|authorization denied",
    "SELECT readfile('{bob}')": "no such function: readfile",
    "SELECT writefile('{new}', 'x')": "no such function: writefile",
    "SELECT edit('x', 'touch {new}')": "no such function: edit",
    "CREATE VIRTUAL TABLE t USING csv(filename='{bob}')": "no such module: csv",
    "CREATE VIRTUAL TABLE t USING zipfile('{new}')": "no such module: zipfile",
    "SELECT * FROM fsdir('{outside}')": "no such table: fsdir",
    "SELECT 1; ATTACH '{bob}' AS b": "You can only execute one statement at a time",
    "DETACH main": "cannot detach database main|not authorized",
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statement__that_reaches_for_another_file(site: Site, statement: str) -> None:
    with use_user(site.alice), pytest.raises(REFUSALS, match=STATEMENTS[statement]):
        execute(site.fill(statement))


def test_statement__in_a_script_or_inside_a_transaction(site: Site) -> None:
    with use_user(site.alice):
        with (
            connections[Note.objects.db].cursor() as cursor,
            pytest.raises(REFUSALS, match=TOO_MANY),
        ):
            cursor.executescript(site.fill("SELECT 1; ATTACH '{bob}' AS b"))
        with connections[Note.objects.db].cursor() as cursor:
            cursor.execute("BEGIN")
            with pytest.raises(REFUSALS, match=TOO_MANY):
                cursor.execute(site.fill("ATTACH '{default}' AS b"))
            cursor.execute("ROLLBACK")


def test_statement__cannot_raise_the_limit_again(site: Site) -> None:
    with use_user(site.alice):
        execute("SELECT 1")
        raw = connections[f"user_{site.alice.pk}"].connection
        assert raw.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) == 0
        for pragma in ("trusted_schema = ON", "journal_mode = DELETE", "journal_mode = WAL"):
            with suppress(*REFUSALS):
                execute(f"PRAGMA {pragma}")
        with pytest.raises(REFUSALS, match=TOO_MANY):
            execute(site.fill("ATTACH '{bob}' AS b"))


def test_statement__stays_with_its_user(site: Site) -> None:
    with use_user(site.alice):
        execute("CREATE TEMP TABLE notes_note (id, text)")
        execute("PRAGMA query_only = ON")
        execute("PRAGMA case_sensitive_like = ON")
    with use_user(site.bob):
        assert [note.text for note in Note.objects.filter(text__icontains="SECRET")] == [SECRET]
        assert execute("PRAGMA query_only") == [(0,)]


def test_statement__that_says_it_is_another_users_file(site: Site) -> None:
    with use_user(site.alice):
        execute(f"UPDATE dsud_identity SET user_key = '{site.bob.pk}'")
    with use_user(site.bob):
        assert [note.text for note in Note.objects.all()] == [SECRET]


# What makes SQLite itself dangerous

DANGEROUS = {
    # Takes the address of a function to call, and gives one away (CVE-2015-7036).
    "SELECT fts3_tokenizer('evil', x'4141414141414141')": "the address of a function is taken",
    "SELECT hex(fts3_tokenizer('simple'))": "the address of a function is told",
    # For the whole process, so for all users in it.
    "PRAGMA temp_store_directory = '{outside}'": "all temporary files go elsewhere",
    "PRAGMA hard_heap_limit = 68719476736": "memory is limited for all users",
    "PRAGMA Soft_Heap_Limit(68719476736)": "memory is limited for all users",
}
ONLY_BEFORE_3_12 = {
    "UPDATE sqlite_schema SET sql = replace(sql, 'text', 'txet')": "the schema is edited",
}


@pytest.fixture
def process_wide() -> Iterator[None]:
    """Undo what a pragma changes for the whole process."""
    yield
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA temp_store_directory = ''")
        connection.execute("PRAGMA soft_heap_limit = 0")


@pytest.mark.usefixtures("process_wide")
@pytest.mark.parametrize("statement", DANGEROUS)
def test_dangerous__statement_is_refused(site: Site, statement: str) -> None:
    with use_user(site.alice), pytest.raises(REFUSALS):
        execute(site.fill(statement))


@pytest.mark.parametrize("statement", ONLY_BEFORE_3_12)
def test_dangerous__schema_cannot_be_edited(site: Site, statement: str) -> None:
    with use_user(site.alice):
        try:
            execute("PRAGMA writable_schema = ON")
        except REFUSALS:
            return
        with pytest.raises(REFUSALS, match="may not be modified"):
            execute(statement)
