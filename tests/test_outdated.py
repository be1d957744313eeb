"""Databases that are not at the schema of the code are refused, migrated or served when they are opened."""

import contextlib
import io
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import pytest_django
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from django.db.migrations import RunPython
from django.db.models.signals import post_migrate, pre_migrate
from django.test import AsyncClient, Client, override_settings

from dsud import engines, fleet, migrating, mirrors, outdated, recording, schema, verdicts
from dsud.connections import alias_of, release
from dsud.context import use_user
from dsud.exceptions import UserDatabaseOutdated, UserDatabaseUnavailable
from dsud.leases import Force
from dsud.models import UserDatabase
from dsud.opening import as_they_are, unmigrated
from dsud.pool import pool
from tests.leasing import closing_default, in_thread
from tests.notes.models import Note
from tests.test_scale import count_calls

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

PENDING = ("evolving.0002_data", "evolving.0003_rebuild")
REMEDY = "Run `manage.py migrate_user_dbs --user {key}`."
BEHIND = (
    "The database of user '{key}' is behind the code: it lacks evolving.0002_data,"
    f" evolving.0003_rebuild. {REMEDY}"
)
GONE = (
    "The database of user '{key}' was migrated by newer code, which has applied notes.0002_later,"
    " and this code cannot work with it: notes_note has no column text any more."
    " Deploy that code here, too, or have it migrate the database back."
)

#: What newer code would have done, with and without regard to the older.
LATER = """
INSERT INTO django_migrations (app, name, applied) VALUES ('notes', '0002_later', '2030-01-01');
PRAGMA user_version = 1234;
"""
EXPANDED = f"{LATER}; ALTER TABLE notes_note ADD COLUMN color TEXT NOT NULL DEFAULT 'red';"
CONTRACTED = f"""
{LATER}; ALTER TABLE notes_note ADD COLUMN body TEXT; UPDATE notes_note SET body = text;
ALTER TABLE notes_note DROP COLUMN text;
"""


@pytest.fixture
def evolving(settings: pytest_django.Settings) -> None:
    """Have the site use an app with a history."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolving"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolving"]
    outdated._shared.clear()
    verdicts._known.clear()


@pytest.fixture(autouse=True)
def closed_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close what Django does not in threads that migrate, because ``default`` is in memory here."""
    migrate_as = outdated._migrate_as
    monkeypatch.setattr(
        outdated, "_migrate_as", lambda *args: closing_default(lambda: migrate_as(*args))
    )


@pytest.fixture(params=["refuse", "migrate", "serve"])
def mode(request: pytest.FixtureRequest, settings: pytest_django.Settings) -> str:
    """Have the site do each of what it may do."""
    settings.DSUD_OUTDATED = request.param
    return str(request.param)


@pytest.fixture
def migrates(evolving: None, settings: pytest_django.Settings) -> None:
    """Have the site migrate what it opens."""
    settings.DSUD_OUTDATED = "migrate"


@pytest.fixture
def alice(evolving: None) -> User:
    """Return a user with a database and a note."""
    user = User.objects.create_user("alice", password="secret")
    with use_user(user):
        Note.objects.create(text="hers")
    close()
    return user


def close() -> None:
    release(force=Force.EVERYTHING)
    pool.close_idle()


def file_of(user: User) -> Path:
    path = engines.engine().path_of(str(user.pk))
    assert path is not None
    return path


def outside(user: User, sql: str) -> list[tuple[object, ...]]:
    """Do to a file what another process would."""
    with closing(sqlite3.connect(file_of(user), isolation_level=None)) as raw:
        *script, last = [each for each in sql.split(";") if each.strip()]
        for statement in script:
            raw.execute(statement)
        return raw.execute(last).fetchall()


def put_behind(*users: User) -> None:
    """Bring databases to where they were before a release."""
    names = [argument for user in users for argument in ("--user", str(user.pk))]
    call_command("migrate_user_dbs", "evolving", "0001", *names, stdout=io.StringIO(), workers=1)
    close()


def applied(user: User) -> list[str]:
    found = outside(user, "SELECT name FROM django_migrations WHERE app = 'evolving' ORDER BY name")
    return [str(name) for (name,) in found]


def is_migrated(user: User) -> bool:
    return len(applied(user)) == 3


def registered(user: User) -> UserDatabase:
    return UserDatabase.objects.get(user_key=user.pk)


def is_registered_as_current(user: User) -> bool:
    return registered(user).schema == schema.fingerprint()


def texts(user: User) -> list[str]:
    with use_user(user):
        return list(Note.objects.values_list("text", flat=True))


def refused(user: User) -> UserDatabaseOutdated:
    with pytest.raises(UserDatabaseOutdated) as caught:
        texts(user)
    return caught.value


# Each way to come to a database


def by_request(user: User) -> list[str]:
    return read(Client(), user)


def by_async_request(user: User) -> list[str]:
    client = AsyncClient(raise_request_exception=False)

    async def get() -> object:
        await client.aforce_login(user)
        return await client.get("/anotes/")

    return answered(async_to_sync(get)())


def by_block(user: User) -> list[str]:
    return texts(user)


def by_async_block(user: User) -> list[str]:
    async def look() -> list[str]:
        async with use_user(user):
            return [note.text async for note in Note.objects.all()]

    return async_to_sync(look)()


def by_thread(user: User) -> list[str]:
    return in_thread(lambda: texts(user))


WAYS = [by_request, by_async_request, by_block, by_async_block, by_thread]


def read(client: Client, user: User) -> list[str]:
    client.force_login(user)
    client.raise_request_exception = False
    return answered(client.get("/notes/"))


def answered(response) -> list[str]:
    """Return the notes that a page shows; raise what it was refused for."""
    if response.status_code == 503:
        assert response["Retry-After"] == "30"
        assert "Your data cannot be reached at the moment" in response.content.decode()
        raise UserDatabaseOutdated("", "")
    assert response.status_code == 200, response.content
    return list(response.json()["notes"])


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest) -> Callable[[User], list[str]]:
    """Return how a database is come to."""
    return request.param


def test_behind(mode: str, way: Callable[[User], list[str]], alice: User) -> None:
    put_behind(alice)
    if mode == "refuse":
        with pytest.raises(UserDatabaseOutdated):
            way(alice)
    else:
        assert way(alice) == ["hers"]
    assert is_migrated(alice) == is_registered_as_current(alice) == (mode == "migrate")
    assert registered(alice).last_error == ""


def test_ahead__so_that_this_code_can_live_with_it(
    mode: str, way: Callable[[User], list[str]], alice: User
) -> None:
    outside(alice, EXPANDED)
    assert way(alice) == ["hers"]
    with use_user(alice):
        Note.objects.create(text="more")
    assert outside(alice, "SELECT color FROM notes_note") == [("red",), ("red",)]


def test_ahead__so_that_this_code_cannot_live_with_it(
    mode: str, way: Callable[[User], list[str]], alice: User
) -> None:
    outside(alice, CONTRACTED)
    if mode == "serve":
        with use_user(alice), pytest.raises(OperationalError, match="no such column"):
            list(Note.objects.all())
        return
    with pytest.raises(UserDatabaseOutdated):
        way(alice)
    assert outside(alice, "SELECT body FROM notes_note") == [("hers",)]


def test_unknown__but_nothing_is_missing(
    mode: str, way: Callable[[User], list[str]], alice: User
) -> None:
    """A database that was changed by hand, or made by Django's own command, has no stamp of the code."""
    outside(alice, "PRAGMA user_version = 4711; CREATE TABLE mine (x)")
    assert way(alice) == ["hers"]


def test_current(mode: str, way: Callable[[User], list[str]], alice: User) -> None:
    assert way(alice) == ["hers"]
    assert is_registered_as_current(alice)


def test_new(mode: str, evolving: None) -> None:
    with transaction.atomic():
        bob = User.objects.create(username="bob")
        with use_user(bob):
            Note.objects.create(text="made before the commit")
    assert texts(bob) == ["made before the commit"]


# What it says


def test_refused__says_what_is_missing_and_what_to_do(alice: User) -> None:
    put_behind(alice)
    error = refused(alice)
    assert str(error) == BEHIND.format(key=alice.pk)
    assert (error.user_key, error.pending, error.unknown) == (str(alice.pk), PENDING, ())
    assert error.status_code == 503
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.pending, copy.unknown) == (str(error), error.pending, error.unknown)


def test_refused__says_what_newer_code_has_done(alice: User) -> None:
    outside(alice, CONTRACTED)
    error = refused(alice)
    assert str(error) == GONE.format(key=alice.pk)
    assert (error.pending, error.unknown) == ((), ("notes.0002_later",))


@pytest.mark.parametrize(
    ("sql", "obstacle"),
    [
        ("DROP TABLE notes_tag", "there is no table notes_tag any more"),
        ("ALTER TABLE notes_tag DROP COLUMN name", "notes_tag has no column name any more"),
        (
            "DROP TABLE notes_tag; CREATE TABLE notes_tag (id, name, color TEXT NOT NULL)",
            "notes_tag.color is new and has no default",
        ),
        ("ALTER TABLE notes_tag ADD COLUMN color TEXT NOT NULL DEFAULT ''", None),
        ("ALTER TABLE notes_tag ADD COLUMN color TEXT", None),
        ("ALTER TABLE notes_tag ADD COLUMN long AS (name || name)", None),
        (
            "DROP TABLE notes_tag; CREATE TABLE notes_tag (id, name, long AS (name) STORED)",
            None,
        ),
        ("CREATE TABLE notes_new (x)", None),
    ],
)
def test_ahead__what_keeps_this_code_from_it(alice: User, sql: str, obstacle: str | None) -> None:
    # Without its constraint, that a column of the table can be dropped.
    outside(
        alice,
        f"DROP TABLE notes_tag; CREATE TABLE notes_tag (id INTEGER PRIMARY KEY, name TEXT); {LATER}; {sql}",
    )
    if obstacle is None:
        assert texts(alice) == ["hers"]
    else:
        assert obstacle in str(refused(alice))


def test_both_behind_and_ahead__is_refused(mode: str, alice: User) -> None:
    """Two branches were deployed, one after the other."""
    put_behind(alice)
    outside(alice, LATER)
    if mode == "serve":
        assert texts(alice) == ["hers"]
        return
    error = refused(alice)
    assert str(error) == (
        f"The database of user '{alice.pk}' was migrated by newer code, which has applied"
        " notes.0002_later, and lacks evolving.0002_data, evolving.0003_rebuild, which this code has."
        " Deploy that code here, too, or have it migrate the database back."
    )
    assert (error.pending, error.unknown) == (PENDING, ("notes.0002_later",))
    assert not is_migrated(alice)


def test_table_without_a_migration__is_missing(
    alice: User, settings: pytest_django.Settings
) -> None:
    """A model became a user model after the database was made."""
    outside(alice, "PRAGMA user_version = 0; DROP TABLE archive_opinion")
    error = refused(alice)
    assert error.pending == ("the table archive_opinion",)
    settings.DSUD_OUTDATED = "migrate"
    assert texts(alice) == ["hers"]
    assert outside(alice, "SELECT * FROM archive_opinion") == []


def test_migrations_of_shared_apps__are_nobodys(alice: User) -> None:
    """They do nothing in user databases, so that those without them are as good."""
    outside(alice, "PRAGMA user_version = 0; DELETE FROM django_migrations WHERE app = 'sessions'")
    assert texts(alice) == ["hers"]


def test_many_migrations__are_not_all_named() -> None:
    verdict = verdicts.Verdict(tuple("abcde"))
    assert str(verdict) == "is behind the code: it lacks a, b, c and 2 more"


def test_unknown_value__refuses(alice: User, settings: pytest_django.Settings) -> None:
    settings.DSUD_OUTDATED = "Migrate"
    put_behind(alice)
    refused(alice)


# Judged once, and not for ever


def test_warm_request__costs_the_same_in_each_mode(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    calls = {}
    for mode in ("serve", "refuse", "migrate"):
        with override_settings(DSUD_OUTDATED=mode):
            close()
            counts = [count_calls(lambda: client.get("/notes/")) for _ in range(8)]
        calls[mode] = min(counts[4:])
    assert len(set(calls.values())) == 1, calls


def test_judged__once_for_each_connection(
    alice: User, settings: pytest_django.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DSUD_OUTDATED = "refuse"
    judged = []
    judge = engines.base.BaseEngine.judge_schema

    def noticing(connection, /, *, opened: bool) -> bool:
        judged.append(opened)
        return judge(connection, opened=opened)

    monkeypatch.setattr("dsud.engines.hooks.Hooks.judge_schema", staticmethod(noticing))
    for _ in range(3):
        texts(alice)
    assert judged == [True]
    close()
    texts(alice)
    assert judged == [True, True]


def test_verdict__is_found_once_for_all_databases_in_a_state(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = User.objects.create(username="bob")
    looked = []
    look = verdicts._look
    monkeypatch.setattr(verdicts, "_look", lambda clone: looked.append(1) or look(clone))
    for user in (alice, bob):
        outside(user, EXPANDED)
        assert texts(user) == (["hers"] if user == alice else [])
    assert looked == [1]


def test_verdicts__are_not_kept_without_end(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "KEPT", 3)
    for number in range(5):
        close()
        outside(alice, f"PRAGMA user_version = 0; CREATE TABLE mine{number} (x)")
        texts(alice)
    assert len(verdicts._known) <= 3


def test_refused__is_forgotten_as_soon_as_somebody_has_migrated(alice: User) -> None:
    put_behind(alice)
    refused(alice)
    assert pool.idle == 1  # Kept open, and judged again each time.
    refused(alice)
    call_command("migrate_user_dbs", stdout=io.StringIO(), workers=1)
    assert texts(alice) == ["hers"]


def test_served__connection_that_newer_code_has_migrated_under_it(alice: User) -> None:
    assert texts(alice) == ["hers"]
    outside(alice, EXPANDED)
    assert texts(alice) == ["hers"]
    assert pool.idle == 1


def test_served__connection_whose_database_newer_code_has_contracted(
    mode: str, alice: User
) -> None:
    assert texts(alice) == ["hers"]
    outside(alice, CONTRACTED)
    with use_user(alice):
        if mode == "serve":
            with pytest.raises(OperationalError, match="no such column"):
                list(Note.objects.all())
            return
        with pytest.raises(UserDatabaseOutdated) as caught:
            list(Note.objects.all())
    assert str(caught.value) == GONE.format(key=alice.pk)
    with use_user(alice), pytest.raises(UserDatabaseOutdated):
        connections[alias_of(str(alice.pk))].ensure_connection()


def test_served__connection_whose_database_must_be_written_otherwise_by_now(alice: User) -> None:
    with use_user(alice), transaction.atomic():
        Note.objects.create(text="more")
    table = outside(alice, "SELECT sql FROM sqlite_master WHERE name = 'notes_note'")[0][0]
    wider = str(table).replace("notes_note", "new").rstrip(")") + ", color TEXT NOT NULL)"
    outside(alice, f"{LATER}; {wider}; DROP TABLE notes_note; ALTER TABLE new RENAME TO notes_note")
    assert texts(alice) == []
    with use_user(alice), pytest.raises(UserDatabaseOutdated, match="is new and has no default"):
        Note.objects.create(text="more")


def test_served__connection_whose_database_went_back(
    alice: User, settings: pytest_django.Settings
) -> None:
    from tests.evolving.models import Shelf

    settings.DSUD_OUTDATED = "migrate"
    with use_user(alice):
        assert Shelf.objects.count() == 2
    outside(
        alice,
        "DROP TABLE evolving_shelf_readers;"
        " DELETE FROM django_migrations WHERE name = '0003_rebuild'; PRAGMA user_version = 0",
    )
    with use_user(alice), pytest.raises(UserDatabaseOutdated) as caught:
        list(
            Shelf.readers.through.objects.all()
        )  # In the middle of something, nothing is migrated.
    assert caught.value.pending == ("evolving.0003_rebuild",)


def test_error_of_the_code__stays_what_it_is(alice: User) -> None:
    outside(alice, EXPANDED)
    with use_user(alice):
        with pytest.raises(OperationalError, match="no such table"):
            connections[alias_of(str(alice.pk))].cursor().execute("SELECT * FROM nowhere")
        with pytest.raises(IntegrityError, match="NOT NULL"):
            Note.objects.create(text=None)
        assert Note.objects.count() == 1


# Whoever knows what they do


def test_as_they_are__opens_everything_for_a_block(mode: str, alice: User) -> None:
    put_behind(alice)
    with use_user(alice):
        with as_they_are():
            assert Note.objects.count() == 1
        if mode == "refuse":
            with pytest.raises(UserDatabaseOutdated):
                Note.objects.count()
        else:
            assert Note.objects.count() == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["migrate_user_dbs", "--plan"], "evolving.0003_rebuild"),
        (["migrate_user_dbs", "--rehearse", "all"], "1 of 1 user databases rehearsed."),
        (["migrate_user_dbs"], "1 of 1 user databases migrated."),
        (["show_user_dbs", "--verify"], "outdated"),
        (["run_on_user_dbs", "showmigrations", "evolving"], "[ ] 0003_rebuild"),
        (["run_on_user_dbs", "migrate"], "Applying evolving.0003_rebuild... OK"),
    ],
)
def test_commands__look_at_and_mend_what_is_behind(
    mode: str, alice: User, command: list[str], said: str
) -> None:
    put_behind(alice)
    output = io.StringIO()
    call_command(*command, stdout=output)
    assert said in output.getvalue()
    assert is_migrated(alice) == (command[-1] in ("migrate_user_dbs", "migrate"))


def test_reading_the_fleet__migrates_nobody(migrates: None, alice: User) -> None:
    put_behind(alice)
    outcomes = fleet.for_each(lambda key: Note.objects.count(), workers=1, read_only=True)
    (outcome,) = outcomes
    assert isinstance(outcome.error, UserDatabaseOutdated)
    assert not is_migrated(alice)
    (outcome,) = fleet.for_each(lambda key: Note.objects.count(), workers=1)
    assert outcome.result == 1
    assert is_migrated(alice)


def test_saving_a_shared_row__migrates_nobody(
    migrates: None, alice: User, settings: pytest_django.Settings
) -> None:
    """Copies are renewed by whoever migrates, and the registry says that somebody must."""
    put_behind(alice)
    UserDatabase.objects.update(schema=schema.fingerprint())
    alice.first_name = "Alice"
    alice.save()
    mirrors.renew_everywhere()
    assert not is_migrated(alice)
    assert (registered(alice).schema, registered(alice).last_error) == ("", "")
    assert texts(alice) == ["hers"]
    with use_user(alice):
        copy = User.objects.using(alias_of(str(alice.pk))).get()
        assert copy.first_name == "Alice"


def test_inside_a_migration__nothing_is_migrated(migrates: None, alice: User) -> None:
    put_behind(alice)

    def work(models, editor) -> None:
        connections[alias_of(str(alice.pk))].ensure_connection()

    # In this order, so that what stands in for users' tables is rolled back with the error.
    with pytest.raises(UserDatabaseOutdated), connections["default"].schema_editor() as editor:
        RunPython(work, hints={"user_databases": False}).database_forwards(
            "auth",
            editor,
            state := recording.MigrationExecutor(editor.connection).loader.project_state(),
            state,
        )
    assert not is_migrated(alice)


def test_unmigrated__refuses(migrates: None, alice: User) -> None:
    put_behind(alice)
    with unmigrated():
        assert str(refused(alice)) == BEHIND.format(key=alice.pk)


# Migrated when it is opened


def test_migrate__in_a_transaction_of_default_that_is_rolled_back(
    migrates: None, alice: User
) -> None:
    """What was done to the file stays, and the registry says so; what the code reads was committed."""
    put_behind(alice)

    class Undone(Exception):
        pass

    with pytest.raises(Undone), transaction.atomic():
        Group.objects.create(name="undone")
        with transaction.atomic():
            assert texts(alice) == ["hers"]
            with use_user(alice):
                Note.objects.create(text="undone")
        assert not is_registered_as_current(alice)
        raise Undone
    assert not Group.objects.exists()
    assert texts(alice) == ["hers"]
    assert is_migrated(alice)
    assert is_registered_as_current(alice)


def test_migrate__in_a_transaction_of_default_that_is_committed(
    migrates: None, alice: User
) -> None:
    put_behind(alice)
    with transaction.atomic(), use_user(alice):
        Note.objects.create(text="more")
    assert texts(alice) == ["hers", "more"]
    assert is_registered_as_current(alice)


def test_migrate__in_an_inner_block_that_is_rolled_back(migrates: None, alice: User) -> None:
    put_behind(alice)
    with transaction.atomic():
        with contextlib.suppress(LookupError), transaction.atomic():
            texts(alice)
            raise LookupError
        assert not is_registered_as_current(alice)
    assert is_registered_as_current(alice)


def test_migrate__in_a_block_that_names_default(migrates: None, alice: User) -> None:
    put_behind(alice)
    with transaction.atomic(using="default"):
        assert texts(alice) == ["hers"]
    assert is_registered_as_current(alice)


def test_migrate__in_a_block_of_the_users_database(migrates: None, alice: User) -> None:
    put_behind(alice)
    with use_user(alice), transaction.atomic(using=alias_of(str(alice.pk))):
        Note.objects.create(text="more")
    assert is_migrated(alice)
    assert texts(alice) == ["hers", "more"]


def test_migrate__with_atomic_requests(migrates: None, alice: User) -> None:
    put_behind(alice)
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert by_request(alice) == ["hers"]
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = False
    assert is_registered_as_current(alice)


def test_migrate__where_one_connection_is_all(
    migrates: None, alice: User, settings: pytest_django.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsud.pool.WAIT", 0.2)
    settings.DSUD_MAX_OPEN = 1
    put_behind(alice)
    assert texts(alice) == ["hers"]
    assert is_migrated(alice)


def test_migrate__tells_those_who_listen(migrates: None, alice: User) -> None:
    heard = []

    def hear(*, signal: object, using: str, **rest: object) -> None:
        heard.append((signal, using, threading.current_thread() is threading.main_thread()))

    put_behind(alice)
    for signal in (pre_migrate, post_migrate):
        signal.connect(hear)
    try:
        texts(alice)
    finally:
        for signal in (pre_migrate, post_migrate):
            signal.disconnect(hear)
    alias = alias_of(str(alice.pk))
    assert set(heard) == {(pre_migrate, alias, False), (post_migrate, alias, False)}


def test_connection_created__is_sent_also_for_what_is_refused_at_first(alice: User) -> None:
    """Sites give each connection functions then, and this one is used as soon as it is migrated."""
    outside(
        alice,
        "CREATE TABLE kept AS SELECT * FROM django_migrations WHERE app = 'archive';"
        " DELETE FROM django_migrations WHERE app = 'archive'; PRAGMA user_version = 0",
    )
    heard = []

    def hear(*, connection, **rest: object) -> None:
        if connection.alias == alias_of(str(alice.pk)):
            heard.append(connection.connection)

    connection_created.connect(hear)
    try:
        refused(alice)
        outside(alice, "INSERT INTO django_migrations SELECT * FROM kept")
        with use_user(alice):
            assert Note.objects.count() == 1
            assert heard == [connections[alias_of(str(alice.pk))].connection]
    finally:
        connection_created.disconnect(hear)


def test_migrate__that_fails_is_this_users_failure(
    migrates: None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = User.objects.create(username="bob")
    put_behind(alice, bob)
    outside(alice, "INSERT INTO evolving_shelf (name) VALUES ('twice'), ('twice')")
    before = outside(alice, "SELECT * FROM evolving_shelf")
    cause = "IntegrityError: UNIQUE constraint failed: new__evolving_shelf.name"
    error = refused(alice)
    assert str(error) == (
        f"The database of user '{alice.pk}' is behind the code: it lacks evolving.0002_data,"
        f" evolving.0003_rebuild, and could not be migrated: {cause}."
        f" Mend the cause and run `manage.py migrate_user_dbs --user {alice.pk}`."
    )
    assert isinstance(error.__cause__, IntegrityError)
    assert registered(alice).last_error == cause
    assert outside(alice, "SELECT * FROM evolving_shelf") == before
    with pytest.raises(UserDatabaseOutdated):
        by_request(alice)
    assert texts(bob) == []
    assert (is_migrated(alice), is_migrated(bob)) == (False, True)

    outside(alice, "DELETE FROM evolving_shelf")
    assert str(refused(alice)) == str(error)  # It was tried a moment ago.
    monkeypatch.setattr(outdated, "PAUSE", 0.0)
    assert texts(alice) == ["hers"]
    assert registered(alice).last_error == ""


def test_migrate__failure_is_recorded_although_the_transaction_is_undone(
    migrates: None, alice: User
) -> None:
    put_behind(alice)
    outside(alice, "INSERT INTO evolving_shelf (name) VALUES ('twice'), ('twice')")
    with pytest.raises(UserDatabaseOutdated), transaction.atomic():
        texts(alice)
    assert registered(alice).last_error.startswith("IntegrityError: UNIQUE")


def test_migrate__failures_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = outdated.Shared()
    monkeypatch.setattr(outdated, "PAUSE", 0.05)
    shared.note_failure("1", "old")
    assert shared.recent_failure("1") == "old"
    time.sleep(0.06)
    shared.note_failure("2", "new")
    assert list(shared._failures) == ["2"]


def test_migrate__that_is_at_work_elsewhere_for_too_long(
    migrates: None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsud.engines.sqlite.files.LOCK_WAIT", 0.05)
    put_behind(alice)
    with engines.engine().lock(str(alice.pk)), pytest.raises(UserDatabaseUnavailable) as caught:
        texts(alice)
    assert "is being made, migrated or deleted by somebody else" in str(caught.value)
    assert registered(alice).last_error == ""
    assert texts(alice) == ["hers"]


def test_migrate__plans_are_recorded_once_for_all_threads(
    migrates: None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [User.objects.create(username=f"user{number}") for number in range(6)]
    put_behind(*users)
    recorded, stepped = [], []
    record, migrate = recording.record, migrating.Migrator._migrate

    def noticing(*arguments, **rest):
        recorded.append(threading.get_ident())
        return record(*arguments, **rest)

    monkeypatch.setattr("dsud.replay.record", noticing)
    monkeypatch.setattr(
        migrating.Migrator, "_migrate", lambda self, key: stepped.append(key) or migrate(self, key)
    )
    found: dict[int, list[str]] = {}

    def open_twice(user: User) -> None:
        found[user.pk] = closing_default(lambda: texts(user))

    threads = [threading.Thread(target=open_twice, args=[user]) for user in users * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {user.pk: [] for user in users}
    assert len(recorded) == 1
    assert sorted(stepped) == sorted(str(user.pk) for user in users)
    for user in users:
        rows = outside(user, "SELECT name FROM evolving_shelf WHERE name = 'from python'")
        assert rows == [("from python",)]
        assert is_registered_as_current(user)


def test_migrate__registry_that_cannot_be_told(
    migrates: None, alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_behind(alice)

    def fail(*arguments: object, **rest: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr("dsud.provisioning.register", fail)
    assert texts(alice) == ["hers"]
    assert "The registry could not be told of a migration." in caplog.text


def test_engine_without_replay(
    mode: str, evolving: None, settings: pytest_django.Settings, tmp_path: Path
) -> None:
    """Django says what the state is, and Django migrates."""
    settings.USER_DATABASES = {
        "default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path / "flat"}
    }
    bob = User.objects.create(username="bob")
    with use_user(bob):
        Note.objects.create(text="his")
    call_command("migrate_user_dbs", "evolving", "0001", stdout=io.StringIO(), workers=1)
    if mode == "refuse":
        assert refused(bob).pending == PENDING
    else:
        assert texts(bob) == ["his"]
        with transaction.atomic():
            assert texts(bob) == ["his"]
    assert is_registered_as_current(bob) == (mode == "migrate")
