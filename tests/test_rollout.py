"""The fleet is migrated: whom, a few first, how many may fail, back again; and the ledger says so."""

import io
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate
from django.utils import timezone

from dsud import engines, migrating, provisioning, rollout, schema
from dsud.connections import alias_of, release
from dsud.context import use_user
from dsud.engines.sqlite import snapshots
from dsud.engines.sqlite.connection import unavailable
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import Force
from dsud.management.commands import migrate_user_dbs
from dsud.models import UserDatabase
from dsud.pool import pool
from tests.histories import History, dump

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

SHELF = """
migrations.CreateModel("Shelf", [
    ("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50)),
]),
"""
ADD = "migrations.AddField('shelf', 'added', models.IntegerField(default=1)),"
REMOVE = "migrations.RemoveField('shelf', 'name'),"
UNIQUE = "migrations.AlterField('shelf', 'name', models.CharField(max_length=50, unique=True)),"


@pytest.fixture
def history(
    settings: pytest_django.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> History:
    """Return a history that begins with a table, in a site whose databases have it."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolution"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolution"]
    monkeypatch.syspath_prepend(tmp_path)

    def set_module(name: str) -> None:
        settings.MIGRATION_MODULES = {"evolution": name}

    history = History(tmp_path, set_module)
    history.write("0001_setup", SHELF)
    schema.fingerprint.cache_clear()
    return history


@pytest.fixture
def deploy(history: History) -> Callable[..., None]:
    """Return what brings a new migration to the site."""

    def write(name: str, operations: str, **rest: str) -> None:
        history.write(name, operations, **rest)
        schema.fingerprint.cache_clear()

    return write


def sign_up(*names: str) -> list[User]:
    return [User.objects.create(username=name) for name in names]


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("migrate_user_dbs", *arguments, stdout=output, no_color=True)
    return output.getvalue()


def refused(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return str(caught.value), caught.value.returncode


def file_of(user: User) -> Path:
    path = engines.engine().path_of(str(user.pk))
    assert path is not None
    return path


def close() -> None:
    release(force=Force.EVERYTHING)
    pool.close_idle()


def script(user: User, sql: str) -> None:
    close()
    with closing(sqlite3.connect(file_of(user))) as raw:
        raw.executescript(sql)
        raw.commit()


def columns(user: User) -> list[str]:
    close()
    with closing(sqlite3.connect(file_of(user))) as raw:
        found = raw.execute("SELECT name FROM pragma_table_info('evolution_shelf')").fetchall()
    return [name for (name,) in found]


def copies(user: User) -> list[tuple[str]]:
    """Return the names in the copies of the user's own row and of a content type."""
    close()
    with closing(sqlite3.connect(file_of(user))) as raw:
        return [
            *raw.execute("SELECT first_name FROM auth_user"),
            *raw.execute("SELECT model FROM django_content_type WHERE app_label = 'gone'"),
        ]


def registered(user: User) -> UserDatabase:
    return UserDatabase.objects.get(user_key=user.pk)


def is_current(user: User) -> bool:
    return registered(user).schema == schema.fingerprint()


# The ledger


def test_ledger__what_is_current_is_not_opened(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = sign_up("alice", "bob")
    deploy("0002_add", ADD)
    assert run("--user", "alice") == "1 of 1 user databases migrated.\n"
    close()
    opened = []
    open_ = engines.engine().open
    monkeypatch.setattr(
        engines.engine(), "open", lambda key, *a, **k: opened.append(key) or open_(key, *a, **k)
    )
    assert run() == "1 of 1 user databases migrated, 1 were current already.\n"
    assert set(opened) == {str(bob.pk)}
    opened.clear()
    assert run() == "0 of 0 user databases migrated, 2 were current already.\n"
    assert opened == []
    assert is_current(alice)
    assert is_current(bob)


def test_ledger__new_databases_are_current(history: History) -> None:
    (alice,) = sign_up("alice")
    assert run() == "0 of 0 user databases migrated, 1 were current already.\n"
    assert engines.engine().has_stamp(str(alice.pk), schema.fingerprint())


def test_ledger__that_is_wrong_is_put_right_by_the_files(deploy: Callable[..., None]) -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")
    deploy("0002_add", ADD)
    run("--user", "alice", "--user", "carol")
    UserDatabase.objects.filter(user_key=alice.pk).update(schema="old", last_error="long ago")
    UserDatabase.objects.filter(user_key=bob.pk).update(schema=schema.fingerprint())
    assert run() == "1 of 1 user databases migrated, 2 were current already.\n"
    assert "added" not in columns(bob)  # As its registry says, which a plain run believes.

    UserDatabase.objects.filter(user_key=alice.pk).update(schema="old", last_error="long ago")
    assert run("--verify") == "1 of 1 user databases migrated, 2 were current already.\n"
    assert "added" in columns(bob)
    assert registered(alice).last_error == ""
    assert is_current(alice)
    assert is_current(bob)
    assert is_current(carol)


def test_ledger__that_is_lost_is_made_again_from_the_files(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    deploy("0002_add", ADD)
    run("--user", "alice")
    UserDatabase.objects.all().delete()
    assert run() == "2 of 2 user databases migrated.\n"
    assert is_current(alice)
    assert is_current(bob)
    UserDatabase.objects.filter(user_key=bob.pk).delete()
    assert run("--verify") == "0 of 0 user databases migrated, 2 were current already.\n"
    assert is_current(bob)


def test_ledger__all_are_opened_on_request(history: History) -> None:
    users = sign_up("alice", "bob", "carol")
    User.objects.update(first_name="changed in all rows at once")  # Which sends no signals.
    users[1].delete()
    ContentType.objects.create(app_label="gone", model="gone")
    ContentType.objects.filter(app_label="gone").update(model="else")
    assert run() == "0 of 0 user databases migrated, 2 were current already.\n"
    assert {copies(user)[0] for user in (users[0], users[2])} == {("",)}
    assert run("--all") == "2 of 2 user databases migrated.\n"
    for user in (users[0], users[2]):
        assert copies(user) == [("changed in all rows at once",), ("else",)]


def test_ledger__database_that_somebody_migrates_by_hand(history: History) -> None:
    (alice,) = sign_up("alice")
    close()
    call_command(
        "run_on_user_dbs", "migrate", "evolution", "zero", verbosity=0, stdout=io.StringIO()
    )
    close()
    assert not engines.engine().has_stamp(str(alice.pk), schema.fingerprint())
    assert run("--verify") == "1 of 1 user databases migrated.\n"
    assert columns(alice) == ["id", "name"]


def test_ledger__failure_is_recorded_and_taken_away(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    script(alice, "INSERT INTO evolution_shelf (name) VALUES ('x'), ('x')")
    deploy("0002_unique", UNIQUE)
    message, code = refused()
    assert code == 1
    assert message == (
        "1 user databases failed, all others are done. Mend the causes and run it again:\n"
        f"  {alice.pk}: UNIQUE constraint failed: new__evolution_shelf.name"
    )
    assert registered(alice).last_error == (
        "IntegrityError: UNIQUE constraint failed: new__evolution_shelf.name"
    )
    assert is_current(bob)
    script(alice, "DELETE FROM evolution_shelf")
    assert run() == "1 of 1 user databases migrated, 1 were current already.\n"
    assert registered(alice).last_error == ""


# Before anything is touched


def test_migration_that_fails_on_a_clone__touches_nobody(deploy: Callable[..., None]) -> None:
    users = sign_up("alice", "bob")
    before = [dump(file_of(user)) for user in users]
    # On a new site the table is there, but no database has it that was made before.
    for user in users:
        script(user, "ALTER TABLE evolution_shelf RENAME COLUMN name TO label")
    changed = [dump(file_of(user)) for user in users]
    deploy("0002_fails", "migrations.RunSQL('UPDATE evolution_shelf SET name = 1')")
    message, code = refused()
    assert code == 1
    assert message == (
        "evolution.0002_fails fails on an empty copy of the database: OperationalError: no such"
        " column: name. Mend it and run the migration again; no database in this state was touched."
        " No user database was touched."
    )
    assert [dump(file_of(user)) for user in users] == changed != before
    assert {row.last_error for row in UserDatabase.objects.all()} == {""}


def test_rehearse__on_copies_and_nothing_is_touched(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    script(bob, "INSERT INTO evolution_shelf (name) VALUES ('x'), ('x')")
    deploy("0002_unique", UNIQUE)
    before = [dump(file_of(user)) for user in (alice, bob)]
    rows = list(UserDatabase.objects.values())
    message, code = refused("--rehearse", "all")
    assert code == 1
    assert message.endswith(f"  {bob.pk}: UNIQUE constraint failed: new__evolution_shelf.name")
    close()
    assert [dump(file_of(user)) for user in (alice, bob)] == before
    assert list(UserDatabase.objects.values()) == rows
    left = {path.name for user in (alice, bob) for path in file_of(user).parents[1].iterdir()}
    assert left == {"1"}
    assert run("--rehearse", "all", "--user", "alice") == "1 of 1 user databases rehearsed.\n"
    close()
    assert dump(file_of(alice)) == before[0]


def test_rehearse__with_code_as_the_user(deploy: Callable[..., None]) -> None:
    (alice,) = sign_up("alice")
    script(alice, "INSERT INTO evolution_shelf (name) VALUES ('hers')")
    code = """
    def work(apps, editor):
        for shelf in apps.get_model("evolution", "Shelf").objects.all():
            raise LookupError(f"saw {shelf.name}")
    """
    deploy("0002_code", "migrations.RunPython(work, migrations.RunPython.noop)", code=code)
    before = dump(file_of(alice))
    assert refused("--rehearse", "1")[0].endswith(f"  {alice.pk}: saw hers")
    close()
    assert dump(file_of(alice)) == before


@pytest.mark.parametrize(
    ("share", "total", "number"),
    [
        (3, 10, 3),
        (0, 10, 0),
        (Fraction(1, 100), 1000, 10),
        (Fraction(1, 100), 10, 1),
        (Fraction(1, 1), 10, 10),
        (Fraction(1, 3), 10, 3),
    ],
)
def test_share_of(share: rollout.Share, total: int, number: int) -> None:
    assert rollout.share_of(share, total) == number


def breaking(users: list[User]) -> None:
    """Give users rows with which the migration to come fails."""
    for user in users:
        script(user, "INSERT INTO evolution_shelf (name) VALUES ('x'), ('x')")


def test_canary__that_fails_keeps_the_others_from_it(deploy: Callable[..., None]) -> None:
    users = sign_up(*"abcdef")
    breaking(users[1:2])
    deploy("0002_unique", UNIQUE)
    message, code = refused("--canary", "2")
    assert code == 1
    assert message == (
        "A canary failed. 2 of 6 user databases were looked at; the others were left alone."
        " Mend the cause and run it again.\n"
        "1 user databases failed, the others of these are done. Mend the causes and run it again:\n"
        f"  {users[1].pk}: UNIQUE constraint failed: new__evolution_shelf.name"
    )
    assert [is_current(user) for user in users] == [True] + [False] * 5
    script(users[1], "DELETE FROM evolution_shelf")
    assert run("--canary", "50%") == "5 of 5 user databases migrated, 1 were current already.\n"
    assert all(map(is_current, users))


def test_max_failures__leaves_the_others_alone(deploy: Callable[..., None]) -> None:
    users = sign_up(*"abcdef")
    breaking(users[:3])
    deploy("0002_unique", UNIQUE)
    message, code = refused("--max-failures", "1")
    assert code == 1
    assert message.startswith(
        "More than 1 failed. 2 of 6 user databases were looked at; the others were left alone."
        " Mend the cause and run it again.\n2 user databases failed, "
    )
    assert [is_current(user) for user in users] == [False] * 6
    message, _ = refused("--max-failures", "50%")
    assert message.startswith("3 user databases failed, all others are done.")
    assert [is_current(user) for user in users] == [False] * 3 + [True] * 3


def test_batch__some_now_and_the_others_later(deploy: Callable[..., None]) -> None:
    users = sign_up(*"abc")
    deploy("0002_add", ADD)
    assert run("--batch", "2") == "2 of 2 user databases migrated.\n"
    assert [is_current(user) for user in users] == [True, True, False]
    assert run("--batch", "2") == "1 of 1 user databases migrated, 2 were current already.\n"


def test_older_than__by_the_last_migration(deploy: Callable[..., None]) -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")
    deploy("0002_add", ADD)
    ago = timezone.now() - timedelta(days=10)
    UserDatabase.objects.filter(user_key=bob.pk).update(migrated=ago)
    UserDatabase.objects.filter(user_key=carol.pk).update(migrated=None)
    assert run("--older-than", "7d") == "2 of 2 user databases migrated.\n"
    assert [is_current(user) for user in (alice, bob, carol)] == [False, True, True]


@pytest.mark.parametrize(
    "whom", [["evolution"], ["--user", "alice", "--user", "bob"], ["--verify"], ["--all"]]
)
def test_older_than__together_with_what_else_says_whom(
    deploy: Callable[..., None], whom: list[str]
) -> None:
    alice, bob = sign_up("alice", "bob")
    deploy("0002_add", ADD)
    ago = timezone.now() - timedelta(days=10)
    UserDatabase.objects.filter(user_key=bob.pk).update(migrated=ago)
    assert run(*whom, "--older-than", "7d").endswith("1 of 1 user databases migrated.\n")
    assert [is_current(user) for user in (alice, bob)] == [False, True]


@pytest.mark.parametrize("text", ["7d", "12h", "30m", "2026-01-31", "2026-01-31T12:30"])
def test_moment(text: str) -> None:
    assert timezone.is_aware(migrate_user_dbs.moment(text))


@pytest.mark.parametrize("text", ["", "d", "7", "yesterday", "2026-13-01", "1 day"])
def test_moment__that_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, because argparse asks for no more
        migrate_user_dbs.moment(text)


# Snapshots and the way back


def test_snapshots__only_where_there_is_no_other_way_back(deploy: Callable[..., None]) -> None:
    (alice,) = sign_up("alice")
    deploy("0002_add", ADD)
    run()
    assert engines.engine().snapshots(str(alice.pk)) == []
    deploy("0003_remove", REMOVE)
    output = run()
    (name,) = engines.engine().snapshots(str(alice.pk))
    assert output == (
        "1 of 1 user databases migrated.\n1 have a snapshot of before;"
        f" `manage.py migrate_user_dbs --undo {name}` brings them back.\n"
    )
    assert snapshots.path_of(file_of(alice), name).stat().st_mode & 0o777 == 0o600


def test_snapshots__always_and_never(deploy: Callable[..., None]) -> None:
    (alice,) = sign_up("alice")
    deploy("0002_remove", REMOVE)
    assert run("--snapshots", "never") == "1 of 1 user databases migrated.\n"
    assert engines.engine().snapshots(str(alice.pk)) == []
    deploy("0003_options", "migrations.AlterModelOptions('shelf', {'ordering': ['id']})")
    assert "1 have a snapshot of before" in run("--snapshots", "always")
    assert len(engines.engine().snapshots(str(alice.pk))) == 1


def test_snapshots__a_few_are_kept(history: History) -> None:
    (alice,) = sign_up("alice")
    for name in ("a", "b", "c", "d"):
        engines.engine().take_snapshot(str(alice.pk), name)
    assert engines.engine().snapshots(str(alice.pk)) == ["c", "d"]


def test_snapshots__go_where_the_database_goes(history: History) -> None:
    (alice,) = sign_up("alice")
    engines.engine().take_snapshot(str(alice.pk), "a")
    home = file_of(alice).parents[1]
    close()
    alice.delete()
    assert [path.relative_to(home).parts[0] for path in home.rglob("a.sqlite3")] == ["1.deleted"]


def test_snapshots__failure_half_way_is_undone(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    for user in (alice, bob):
        script(user, "INSERT INTO evolution_shelf (name) VALUES ('precious')")
    script(bob, "INSERT INTO evolution_shelf (name) VALUES ('fatal')")
    code = """
    def work(apps, editor):
        if fatal in apps.get_model("evolution", "Shelf").objects.values_list("name", flat=True):
            raise LookupError(fatal)
    fatal = "fatal"
    """
    deploy(
        "0002_gone",
        "migrations.RunSQL(\"DELETE FROM evolution_shelf WHERE name = 'precious'\", '')",
    )
    deploy("0003_fails", "migrations.RunPython(work)", extra="atomic = False", code=code)
    before = dump(file_of(bob))
    message, code = refused()
    assert (code, message.splitlines()[1:]) == (1, [f"  {bob.pk}: fatal"])
    close()
    assert dump(file_of(bob)) == before
    assert is_current(alice)


def test_undo__brings_a_whole_run_back(deploy: Callable[..., None]) -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")
    for user in (alice, bob):
        script(user, "INSERT INTO evolution_shelf (name) VALUES ('precious')")
    before = [dump(file_of(user)) for user in (alice, bob)]
    schema_before = registered(alice).schema
    deploy("0002_remove", REMOVE)
    run("--user", "alice", "--user", "bob")
    (name,) = engines.engine().snapshots(str(alice.pk))
    run("--snapshots", "never")
    # Somebody has the database open meanwhile, and goes on with what it was.
    with closing(sqlite3.connect(file_of(alice))) as reader:
        assert reader.execute("SELECT count(*) FROM evolution_shelf").fetchone() == (1,)
        assert run("--undo", name) == "2 of 2 user databases brought back.\n"
        assert reader.execute("SELECT name FROM evolution_shelf").fetchall() == [("precious",)]
    close()
    assert [dump(file_of(user)) for user in (alice, bob)] == before
    assert [is_current(user) for user in (alice, bob, carol)] == [False, False, True]
    assert schema_before != schema.fingerprint()
    assert run().startswith("2 of 2 user databases migrated, 1 were current already.\n")


def test_undo__of_a_run_without_snapshots(history: History) -> None:
    sign_up("alice")
    assert refused("--undo", "20200101T000000-abcd") == (
        "No user database has a snapshot of '20200101T000000-abcd'.",
        2,
    )


# Without Django's connection


def connected(deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Deploy a migration, and return for whom Django's connection was opened to migrate."""
    opened = []
    open_ = engines.engine().open
    monkeypatch.setattr(
        engines.engine(), "open", lambda key, *a, **k: opened.append(key) or open_(key, *a, **k)
    )
    close()
    run()
    return set(opened)


def test_quick_way__of_all_in_a_known_state(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = sign_up("alice", "bob", "carol")
    deploy("0002_add", ADD)
    assert connected(deploy, monkeypatch) == {str(users[0].pk)}  # On whose schema it was recorded.
    assert all(map(is_current, users))
    for user in users:
        assert engines.engine().has_stamp(str(user.pk), schema.fingerprint())
        assert columns(user) == ["id", "name", "added"]


def lengths_of_names(users: Iterable[User]) -> list[int]:
    """Return how long the name is that each user's file has."""
    close()
    found = []
    for user in users:
        with closing(sqlite3.connect(file_of(user))) as raw:
            (name,) = raw.execute("SELECT name FROM evolution_shelf").fetchone()
        found.append(len(name))
    return found


def test_quick_way__has_the_functions_of_django(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = sign_up("alice", "bob")
    for user in users:
        script(user, "INSERT INTO evolution_shelf (name) VALUES ('b12')")
    deploy(
        "0002_sql",
        "migrations.RunSQL(\"UPDATE evolution_shelf SET name = MD5(name) WHERE name REGEXP 'b[0-9]+'\", '')",
    )
    assert len(connected(deploy, monkeypatch)) == 1
    assert lengths_of_names(users) == [32, 32]


def test_replay__beside_code_has_the_functions_of_django(deploy: Callable[..., None]) -> None:
    """Statements beside code run without a cursor that would give a connection what it lacks."""
    users = sign_up("alice", "bob")
    for user in users:
        script(user, "INSERT INTO evolution_shelf (name) VALUES ('b12')")
    deploy(
        "0002_sql",
        "migrations.RunSQL(\"UPDATE evolution_shelf SET name = MD5(name)\", ''),"
        "migrations.RunPython(lambda apps, editor: apps.get_model('evolution', 'Shelf')"
        ".objects.update(name=models.functions.SHA1('name')), migrations.RunPython.noop),",
    )
    run()
    assert lengths_of_names(users) == [40, 40]


def test_quick_way__has_the_functions_that_a_schema_calls(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = sign_up("alice", "bob")
    for user in users:
        script(
            user,
            """
            INSERT INTO evolution_shelf (name) VALUES ('b12');
            CREATE TRIGGER hashed AFTER UPDATE ON evolution_shelf WHEN length(new.name) < 32
            BEGIN UPDATE evolution_shelf SET name = MD5(new.name); END;
            """,
        )
    deploy("0002_sql", "migrations.RunSQL(\"UPDATE evolution_shelf SET name = 'c'\", '')")
    assert len(connected(deploy, monkeypatch)) == 1
    assert lengths_of_names(users) == [32, 32]


def test_quick_way__writes_nothing_where_nothing_is_to_do(deploy: Callable[..., None]) -> None:
    users = sign_up("alice", "bob")
    deploy("0002_add", ADD)
    run()
    close()

    def written() -> list[bytes]:
        # Before Python 3.12 the last to close a database takes its -wal away.
        logs = [file_of(user).with_name("db.sqlite3-wal") for user in users]
        return [path.read_bytes() for path in [*map(file_of, users), *logs] if path.exists()]

    before = written()
    UserDatabase.objects.update(schema="")  # As a run leaves it that is killed before it tells.
    run()
    close()
    assert written() == before
    assert all(map(is_current, users))


def test_quick_way__not_where_a_site_adds_to_connections(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = sign_up("alice", "bob")
    deploy("0002_sql", 'migrations.RunSQL("UPDATE evolution_shelf SET name = shout(name)")')

    def add(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        connection.connection.create_function("shout", 1, str.upper)

    connection_created.connect(add)
    try:
        assert len(connected(deploy, monkeypatch)) == 2
    finally:
        connection_created.disconnect(add)
    assert all(map(is_current, users))


def test_quick_way__not_for_code(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_up("alice", "bob")
    deploy("0002_code", "migrations.RunPython(print_nothing)", code="def print_nothing(*a): pass")
    assert len(connected(deploy, monkeypatch)) == 2


def test_quick_way__renews_copies_that_are_stale(deploy: Callable[..., None]) -> None:
    users = sign_up("alice", "bob")
    User.objects.update(first_name="of all rows at once")
    deploy("0002_add", ADD)
    run()
    assert [copies(user) for user in users] == [[("of all rows at once",)]] * 2


# Who listens


def test_signals__of_a_site_that_listens(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    deploy("0002_add", ADD)
    heard = []

    def before(using: str, plan: object, **kwargs: object) -> None:
        heard.append(("before", using, [str(migration) for migration, _ in plan]))

    def after(using: str, plan: object, **kwargs: object) -> None:
        heard.append(("after", using, [str(migration) for migration, _ in plan]))

    config = apps.get_app_config("evolution")
    pre_migrate.connect(before, sender=config)
    post_migrate.connect(after, sender=config)
    try:
        run()
    finally:
        pre_migrate.disconnect(before, sender=config)
        post_migrate.disconnect(after, sender=config)
    assert [
        entry for entry in heard if entry[1] in (alias_of(str(alice.pk)), alias_of(str(bob.pk)))
    ] == [
        (when, alias_of(str(user.pk)), ["evolution.0002_add"])
        for user in (alice, bob)
        for when in ("before", "after")
    ]


# What is told


def test_json__of_a_rollout(deploy: Callable[..., None]) -> None:
    (alice,) = sign_up("alice")
    deploy("0002_add", ADD)
    (document,) = json.loads(run("--json"))
    assert 0 < document.pop("seconds") < 30
    assert document == {
        "user": str(alice.pk),
        "ok": True,
        "steps": ["Applied evolution.0002_add"],
        "how": "SQL",
        "current": True,
        "error": None,
    }


def test_target__there_and_back(deploy: Callable[..., None]) -> None:
    (alice,) = sign_up("alice")
    deploy("0002_add", ADD)
    run()
    output = run("evolution", "0001")
    assert output.startswith(f"User {alice.pk}:\n  Unapplied evolution.0002_add\n1 of 1 ")
    assert not is_current(alice)
    assert not engines.engine().has_stamp(str(alice.pk), schema.fingerprint())
    assert run("evolution", "0001").startswith(f"User {alice.pk}:\n  Nothing to do\n")
    assert run("evolution") == (
        f"User {alice.pk}:\n  Applied evolution.0002_add\n1 of 1 user databases migrated.\n"
    )
    assert is_current(alice)


def test_migrator__can_be_sent_to_another_process(history: History) -> None:
    import pickle

    migrator = migrating.Migrator("evolution", "0001", run="r", snapshots="never", on_copies=True)
    twin = pickle.loads(pickle.dumps(migrator))
    assert (twin.target, twin.run, twin.snapshots, twin.on_copies) == (
        ("evolution", "0001"),
        "r",
        "never",
        True,
    )


# Faults: each is one user's, named with cause and remedy


def corrupt(user: User) -> None:
    path = file_of(user)
    close()
    path.write_bytes(b"garbage" * 2000)
    for sidecar in path.parent.glob("db.sqlite3-*"):
        sidecar.unlink()


def lose(user: User) -> None:
    path = file_of(user)
    close()
    path.unlink()


def test_fault__each_is_named_and_all_others_are_migrated(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupted, locked, missing, strange, ahead, full, fine = sign_up(
        "corrupted", "locked", "missing", "strange", "ahead", "full", "fine"
    )
    script(strange, "CREATE TABLE extra (a TEXT); INSERT INTO extra VALUES ('kept')")
    script(
        ahead,
        "INSERT INTO django_migrations (app, name, applied) VALUES ('evolution', '0009_later', 'x');"
        "ALTER TABLE evolution_shelf ADD COLUMN later TEXT",
    )
    script(full, "INSERT INTO evolution_shelf (name) VALUES ('x')")
    corrupt(corrupted)
    lose(missing)
    full_before = dump(file_of(full))
    deploy("0002_rebuild", "migrations.AlterField('shelf', 'name', models.TextField(unique=True)),")
    with monkeypatch.context() as patch, closing(sqlite3.connect(file_of(locked))) as writer:
        limit_pages(full, patch)
        patch.setitem(engines.engine().options, "timeout", 0.2)
        writer.execute("BEGIN IMMEDIATE")
        message, code = refused()
        close()
    assert code == 1
    lines = message.splitlines()
    assert lines[0] == (
        "5 user databases failed, all others are done. Mend the causes and run it again:"
    )
    causes = {line.split(":")[0].strip(): line.partition(": ")[2] for line in lines[1:]}
    assert causes == {
        str(corrupted.pk): str(unusable(corrupted)),
        str(locked.pk): (
            f"The database of user '{locked.pk}' was not migrated: database is locked."
            " Somebody else writes to it for longer than the timeout; wait for that to end."
        ),
        str(missing.pk): str(provisioning.missing(str(missing.pk))),
        str(ahead.pk): (
            "Newer code has applied evolution.0009_later, which this code does not know. Deploy that"
            " code, or have it migrate back first; the database was not touched."
        ),
        str(full.pk): (
            f"The database of user '{full.pk}' was not migrated: database or disk is full."
            " Make room on the disk."
        ),
    }
    close()
    assert dump(file_of(full)) == full_before
    assert [is_current(user) for user in (strange, ahead, fine)] == [True, False, True]
    with closing(sqlite3.connect(file_of(strange))) as raw:
        assert raw.execute("SELECT a FROM extra").fetchall() == [("kept",)]
    assert "later" in columns(ahead)
    assert registered(full).last_error == f"NotMigrated: {causes[str(full.pk)]}"

    assert run("--user", "locked", "--user", "full") == "2 of 2 user databases migrated.\n"


def unusable(user: User) -> UserDatabaseUnavailable:
    return unavailable(str(user.pk), sqlite3.DatabaseError("file is not a database"))


def limit_pages(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitate a full disk for one user."""

    def limit(raw: sqlite3.Connection) -> None:
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count = {pages}")

    when_opened(user, monkeypatch, limit)


def when_opened(
    user: User, monkeypatch: pytest.MonkeyPatch, do: Callable[[sqlite3.Connection], object]
) -> None:
    """Do something to each raw connection to a user's file, in whichever way it is opened."""

    def refuse_unless_owned(raw: sqlite3.Connection, key: str) -> None:
        look(raw, key)
        if key == str(user.pk):
            do(raw)

    look = engines.sqlite.connection.refuse_unless_owned
    monkeypatch.setattr(engines.sqlite.connection, "refuse_unless_owned", refuse_unless_owned)


def test_fault__read_only_file(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = sign_up("alice", "bob")
    deploy("0002_add", ADD)
    close()
    # As root writes everywhere, SQLite is told not to.
    when_opened(alice, monkeypatch, lambda raw: raw.execute("PRAGMA query_only = ON"))
    message, code = refused()
    assert code == 1
    assert message.splitlines()[1:] == [
        (
            f"  {alice.pk}: The database of user '{alice.pk}' was not migrated: attempt to write a"
            " readonly database. Give this process the right to write the file and its directory."
        )
    ]
    assert is_current(bob)


def test_fault__two_deploys_at_once_do_the_work_once(
    deploy: Callable[..., None], tmp_path: Path
) -> None:
    """The lock of each database lets one in after the other, who finds nothing to do."""
    (alice,) = sign_up("alice")
    code = """
    def work(apps, editor):
        apps.get_model("evolution", "Shelf").objects.create(name="once")
    """
    deploy("0002_code", "migrations.RunPython(work)", code=code)
    key = str(alice.pk)
    migrators = [migrating.Migrator(run=name, snapshots="never") for name in ("a", "b")]
    failures: list[BaseException] = []

    def work(migrator: migrating.Migrator) -> None:
        try:
            with use_user(key):
                migrator(key)
        except BaseException as error:  # noqa: BLE001, because a thread keeps it to itself
            failures.append(error)
        finally:
            close()
            BaseDatabaseWrapper._close(
                connections["default"]
            )  # In memory, where close() does nothing.

    threads = [threading.Thread(target=work, args=(each,)) for each in migrators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(sqlite3.connect(file_of(alice))) as raw:
        # One of the template's migration is not in a database that was there before.
        assert raw.execute("SELECT name FROM evolution_shelf").fetchall() == [("once",)]
