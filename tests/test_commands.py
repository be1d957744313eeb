"""The commands for operators: what they do, what they print, and how they exit."""

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, CommandParser, call_command
from django.db import connections
from django.utils import timezone

from dsud import engines, retirement, schema
from dsud.connections import alias_of
from dsud.context import current_user_id, use_user
from dsud.models import UserDatabase
from dsud.opening import as_they_are
from dsud.pool import pool
from tests.notes.models import Note
from tests.scripts import run_script
from tests.sites import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


def sign_up(*names: str) -> list[User]:
    return [User.objects.create(username=name) for name in names]


def run(*arguments: object, **options: object) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output, no_color=True, **options)
    return output.getvalue()


def refused(*arguments: object, **options: object) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        run(*arguments, **options)
    return str(caught.value), caught.value.returncode


def write(user: object, text: str) -> None:
    with use_user(user):
        Note.objects.create(text=text)


def texts(user: object) -> list[str]:
    with use_user(user):
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


def row_of(user: User) -> UserDatabase:
    return UserDatabase.objects.get(user_key=user.pk)


def lose(user: User) -> None:
    path = engines.engine().path_of(str(user.pk))
    connections[alias_of(str(user.pk))].close()
    path.unlink()


def corrupt(user: User) -> None:
    path = engines.engine().path_of(str(user.pk))
    connections[alias_of(str(user.pk))].close()
    pool.close_idle()
    path.write_bytes(b"garbage" * 2000)
    for sidecar in path.parent.glob("db.sqlite3-*"):
        sidecar.unlink()


@pytest.fixture
def evolving(settings: pytest_django.Settings) -> None:
    """Install the app with a history."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolving"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolving"]


def shelf_columns(user: User) -> list[str]:
    with use_user(user), as_they_are(), connections[alias_of(str(user.pk))].cursor() as cursor:
        cursor.execute("SELECT name FROM pragma_table_info('evolving_shelf')")
        return [name for (name,) in cursor.fetchall()]


# create_user_db


def test_create__named_users(settings: pytest_django.Settings) -> None:
    settings.DSUD_PROVISION = ()
    alice, bob, carol = sign_up("alice", "bob", "carol")
    assert run("create_user_db", "--user", "alice", "--user", str(bob.pk)) == (
        "2 of 2 user databases made.\n"
    )
    assert [engines.engine().exists(str(user.pk)) for user in (alice, bob, carol)] == [
        True,
        True,
        False,
    ]
    assert texts(alice) == []


def test_create__all_who_have_none(settings: pytest_django.Settings) -> None:
    (alice,) = sign_up("alice")
    write(alice, "kept")
    settings.DSUD_PROVISION = ()
    bob, carol, dave = sign_up("bob", "carol", "dave")
    assert run("create_user_db", "--all", "--exclude", "dave") == "2 of 2 user databases made.\n"
    assert texts(alice) == ["kept"]
    assert texts(bob) == texts(carol) == []
    assert not engines.engine().exists(str(dave.pk))
    assert run("create_user_db", "--all") == "1 of 1 user databases made.\n"
    assert run("create_user_db", "--all") == "0 of 0 user databases made.\n"


def test_create__one_who_has_one() -> None:
    (alice,) = sign_up("alice")
    write(alice, "kept")
    assert refused("create_user_db", "--user", "alice") == (
        (
            "1 user databases failed, all others are done. Mend the causes and run it again:\n"
            f"  {alice.pk}: User '{alice.pk}' has a database already; it was left as it is."
        ),
        1,
    )
    assert texts(alice) == ["kept"]


def test_create__missing_ones_are_not_made_anew() -> None:
    alice, bob = sign_up("alice", "bob")
    lose(alice)
    retirement.retire(str(bob.pk))
    UserDatabase.objects.filter(user_key=bob.pk).update(state="deleted")
    message, code = refused("create_user_db", "--all")
    assert (
        f"  {alice.pk}: The database of user '{alice.pk}' is registered but its file" in message,
        code,
    ) == (True, 1)
    assert not engines.engine().exists(str(alice.pk))
    assert texts(bob) == []  # One that was deleted on purpose is made when it is asked for.

    assert run("create_user_db", "--user", "alice", "--lost") == "1 of 1 user databases made.\n"
    assert texts(alice) == []
    assert refused("create_user_db", "--user", "alice", "--lost")[1] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name users with --user, or give --all."),
        (["--all", "--user", "alice"], "Name users with --user, or give --all."),
        (["--all", "--lost"], "Name those who lost their data with --user."),
        (["--user", "eve"], "There is no user with the name or the key 'eve'."),
        (["--all", "--exclude", "eve"], "There is no user with the name or the key 'eve'."),
    ],
)
def test_create__wrong_usage(arguments: list[str], message: str) -> None:
    sign_up("alice")
    assert refused("create_user_db", *arguments) == (message, 2)


# migrate_user_dbs


def test_migrate__each_as_its_user(evolving: None) -> None:
    from tests.evolving.models import Shelf

    alice, bob = sign_up("alice", "bob")
    assert run("migrate_user_dbs", "evolving", "zero").count("Unapplied evolving.0001") == 2
    assert shelf_columns(alice) == shelf_columns(bob) == []
    assert {row.schema for row in UserDatabase.objects.all()} == {""}

    output = run("migrate_user_dbs", "evolving", "0002", "--user", "alice")
    assert output == (
        f"User {alice.pk}:\n  Applied evolving.0001_initial\n  Applied evolving.0002_data\n"
        "1 of 1 user databases migrated.\n"
    )
    assert (len(shelf_columns(alice)), shelf_columns(bob)) == (3, [])
    assert row_of(alice).schema == ""

    assert run("migrate_user_dbs") == "2 of 2 user databases migrated.\n"
    for user in (alice, bob):
        with use_user(user):
            assert list(Shelf.objects.values_list("name", flat=True)) == ["from python", "from sql"]
        assert row_of(user).schema == schema.fingerprint()


def test_migrate__one_broken_database_does_not_stop_the_others(evolving: None) -> None:
    alice, bob, carol, dave = sign_up("alice", "bob", "carol", "dave")
    run("migrate_user_dbs", "evolving", "0001")
    corrupt(bob)
    lose(carol)
    with use_user(dave), as_they_are(), connections[alias_of(str(dave.pk))].cursor() as cursor:
        # Two shelves of one name cannot become unique.
        cursor.execute("INSERT INTO evolving_shelf (name) VALUES ('twice'), ('twice')")

    message, code = refused("migrate_user_dbs")
    assert code == 1
    lines = message.splitlines()
    assert lines[0] == (
        "3 user databases failed, all others are done. Mend the causes and run it again:"
    )
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        str(user.pk) for user in (bob, carol, dave)
    ]
    assert "file is not a database" in lines[1]
    assert "is registered but its file is missing" in lines[2]
    assert "UNIQUE constraint failed" in lines[3]
    assert len(shelf_columns(alice)) == 4
    assert row_of(alice).last_error == ""
    assert row_of(bob).last_error.startswith("UserDatabaseUnavailable: The database of user")
    assert row_of(carol).last_error.startswith("UserDatabaseUnavailable: The database of user")
    assert row_of(dave).last_error == (
        "IntegrityError: UNIQUE constraint failed: new__evolving_shelf.name"
    )
    with use_user(dave), as_they_are(), connections[alias_of(str(dave.pk))].cursor() as cursor:
        cursor.execute("SELECT name FROM evolving_shelf")
        # Nothing of the migration before the one that failed.
        assert cursor.fetchall() == [("twice",), ("twice",)]
        cursor.execute("DELETE FROM evolving_shelf WHERE name = 'twice'")

    assert run("migrate_user_dbs", "--user", "dave") == "1 of 1 user databases migrated.\n"
    assert row_of(dave).last_error == ""
    assert row_of(dave).schema == schema.fingerprint()


def test_migrate__registers_what_a_killed_process_did_not() -> None:
    alice, bob = sign_up("alice", "bob")
    UserDatabase.objects.filter(user_key=alice.pk).update(state="pending", schema="")
    UserDatabase.objects.filter(user_key=bob.pk).delete()
    run("migrate_user_dbs")
    assert {row.state for row in UserDatabase.objects.all()} == {"ready"}
    assert {row.schema for row in UserDatabase.objects.all()} == {schema.fingerprint()}


def test_migrate__user_without_a_database_fails_at_once(settings: pytest_django.Settings) -> None:
    settings.DSUD_PROVISION = ("first_use",)
    (alice,) = sign_up("alice")
    message, code = refused("migrate_user_dbs", "--user", "alice")
    assert code == 1
    assert message.endswith(
        f"The database of user '{alice.pk}' was never made."
        f" Make a new one with `manage.py create_user_db --user {alice.pk}`."
    )
    assert run("migrate_user_dbs") == "0 of 0 user databases migrated.\n"


def test_migrate__plan_and_check_change_nothing(evolving: None) -> None:
    _alice, bob = sign_up("alice", "bob")
    run("migrate_user_dbs", "evolving", "0001", "--user", "bob")
    before = row_of(bob)

    output = run("migrate_user_dbs", "--plan")
    assert output.startswith(
        f"1 user databases: {bob.pk}\nPlanned operations:\nevolving.0002_data\n"
    )
    assert output.endswith("\n1 of 2 user databases have migrations left to apply.\n")
    assert "evolving.0003_rebuild" in output
    assert refused("migrate_user_dbs", "--check") == (
        (
            f"1 of 2 user databases have migrations left to apply: {bob.pk}."
            " Run `manage.py migrate_user_dbs`."
        ),
        1,
    )
    run("migrate_user_dbs", "--check", "--user", "alice")
    assert len(shelf_columns(bob)) == 3
    assert (row_of(bob).migrated, row_of(bob).last_error) == (before.migrated, "")


def test_migrate__fake_and_fake_initial(evolving: None) -> None:
    (alice,) = sign_up("alice")
    run("migrate_user_dbs", "evolving", "0002", fake=True)
    assert len(shelf_columns(alice)) == 4
    message, code = refused("migrate_user_dbs")
    assert (code, "duplicate column name: owner_id" in message) == (1, True)
    run("migrate_user_dbs", "evolving", "0003", "--fake")
    run("migrate_user_dbs", "evolving", "0001")
    run("migrate_user_dbs", "evolving", "zero", "--fake")
    output = run("migrate_user_dbs", "evolving", "--fake-initial", "--noinput")
    assert output == (
        f"User {alice.pk}:\n  Faked evolving.0001_initial\n  Applied evolving.0002_data\n"
        "  Applied evolving.0003_rebuild\n1 of 1 user databases migrated.\n"
    )
    assert len(shelf_columns(alice)) == 4


def test_migrate__app_without_migrations(settings: pytest_django.Settings) -> None:
    (alice,) = sign_up("alice")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.plain"]
    apps.clear_cache()
    settings.DSUD_APPS = [*settings.DSUD_APPS, "plain"]
    run("migrate_user_dbs")
    assert row_of(alice).schema == schema.fingerprint()
    from tests.plain.models import Leaf

    with use_user(alice):
        assert Leaf.objects.count() == 0
    assert refused("migrate_user_dbs", "plain") == ("App 'plain' does not have migrations.", 2)
    output = run("migrate_user_dbs", "plain", "--run-syncdb")
    assert output == f"User {alice.pk}:\n  Nothing to do\n1 of 1 user databases migrated.\n"


def test_migrate__prunes(evolving: None) -> None:
    (alice,) = sign_up("alice")
    alias = alias_of(str(alice.pk))
    with use_user(alice), connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('evolving', '0009', 'now')"
        )
    assert "Pruning evolving.0009 OK" in run("migrate_user_dbs", "evolving", "--prune")


def test_migrate__json() -> None:
    alice, bob = sign_up("alice", "bob")
    corrupt(bob)
    UserDatabase.objects.update(schema="")
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("migrate_user_dbs", "--json", stdout=output)
    assert caught.value.returncode == 1
    first, second = json.loads(output.getvalue())
    assert 0 <= first.pop("seconds") < 30
    assert first == {
        "user": str(alice.pk),
        "ok": True,
        "steps": [],
        "how": "SQL",
        "current": True,
        "error": None,
    }
    assert (second["user"], second["ok"]) == (str(bob.pk), False)
    assert second["error"].startswith(f"The database of user '{bob.pk}' cannot be used")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "eve"], "There is no user with the name or the key 'eve'."),
        (["note"], "No installed app with label 'note'."),
        (["notes", "0042"], "Cannot find a migration matching '0042' from app 'notes'."),
        (
            ["evolving", "000"],
            "More than one migration matches '000' in app 'evolving'. Please be more specific.",
        ),
        (
            ["dsud"],
            (
                "App 'dsud' has no user models, so that user databases have none of its tables."
                " Those are migrated by `manage.py migrate dsud`."
            ),
        ),
    ],
)
@pytest.mark.parametrize(
    "mode",
    [[], ["--plan"], ["--check"], ["--fake"], ["--prune"], ["--rehearse", "1"], ["--undo", "a"]],
    ids=" ".join,
)
def test_migrate__wrong_usage(
    arguments: list[str], message: str, mode: list[str], evolving: None
) -> None:
    (alice,) = sign_up("alice")
    UserDatabase.objects.update(schema="old")
    with mock.patch.object(engines.engine(), "open", side_effect=AssertionError("opened")):
        assert refused("migrate_user_dbs", *arguments, *mode) == (message, 2)
    assert row_of(alice).schema == "old"


def test_migrate__syncdb_and_prune_of_the_wrong_app(evolving: None) -> None:
    sign_up("alice")
    assert refused("migrate_user_dbs", "notes", "--run-syncdb") == (
        "Can't use run_syncdb with app 'notes' as it has migrations.",
        2,
    )
    assert refused("migrate_user_dbs", "--prune") == (
        "Migrations can be pruned only when an app is specified.",
        2,
    )


def test_migrate__migration_that_fails_on_an_empty_database_touches_nobody() -> None:
    (alice,) = sign_up("alice")
    before = row_of(alice).migrated
    engines.engine()._templates._images = {}
    shutil.rmtree(engines.engine().location / ".template", ignore_errors=True)
    with mock.patch.object(schema, "migrate_template", side_effect=ZeroDivisionError("odd")):
        assert refused("migrate_user_dbs") == (
            (
                "The migrations fail on an empty database: ZeroDivisionError: odd\n"
                "No user database was touched. Mend the migrations and run it again."
            ),
            1,
        )
        assert row_of(alice).migrated == before
        # A way back must stay open.
        assert run("migrate_user_dbs", "notes", "0001").endswith(
            "1 of 1 user databases migrated.\n"
        )


def test_migrate__lost_mount_makes_nothing(location: Path) -> None:
    alice, _ = sign_up("alice", "bob")
    connections[alias_of(str(alice.pk))].close()
    engines.engine()._templates._images = {}  # It must be needed again, but not built.
    shutil.rmtree(location)
    location.mkdir()
    message, code = refused("migrate_user_dbs")
    assert (code, message.count("is registered but its file is missing")) == (1, 2)
    assert list(location.iterdir()) == []


# show_user_dbs


def shown(*arguments: str, **options: object) -> dict[str, dict[str, object]]:
    found = json.loads(run("show_user_dbs", *arguments, as_json=True, **options))
    return {row["user"]: row for row in found}


def test_show__answers_from_the_registry_and_looks_at_no_file(
    settings: pytest_django.Settings,
) -> None:
    fine, lost, odd, outdated, waiting = sign_up("fine", "lost", "odd", "outdated", "waiting")
    lose(lost)
    UserDatabase.objects.filter(user_key=odd.pk).delete()
    UserDatabase.objects.filter(user_key=outdated.pk).update(schema="", last_error="Odd: it is")
    UserDatabase.objects.filter(user_key=waiting.pk).update(state="pending")
    settings.DSUD_PROVISION = ()
    (none,) = sign_up("none")

    with mock.patch("dsud.engines.sqlite.files.is_there", side_effect=AssertionError("looked")):
        rows = shown()
    assert [(row["user"], row["state"], row["schema"]) for row in rows.values()] == [
        (str(fine.pk), "ready", "current"),
        (str(lost.pk), "ready", "current"),
        (str(outdated.pk), "ready", "outdated"),
        (str(waiting.pk), "pending", ""),
    ]
    assert rows[str(outdated.pk)]["last_error"] == "Odd: it is"
    assert rows[str(fine.pk)]["size"] == engines.engine().size(str(fine.pk))
    assert list(rows[str(fine.pk)]) == [
        *["user", "state", "schema", "fingerprint", "size", "last_used", "migrated", "verified"],
        "last_error",
    ]
    named = shown(users=["none", "odd", "fine"])
    assert {row["user"]: row["state"] for row in named.values()} == {
        str(fine.pk): "ready",
        str(none.pk): "none",
        str(odd.pk): "not registered",
    }


def test_show__verify_mends_the_registry() -> None:
    fine, lost, odd, outdated, waiting, broken, gone = sign_up(
        "fine", "lost", "odd", "outdated", "waiting", "broken", "gone"
    )
    write(fine, "a note")
    lose(lost)
    corrupt(broken)
    UserDatabase.objects.filter(user_key=odd.pk).delete()
    UserDatabase.objects.filter(user_key=waiting.pk).update(state="pending", schema="")
    UserDatabase.objects.filter(user_key=gone.pk).update(state="deleted")
    UserDatabase.objects.update(size=None, last_used=None)
    UserDatabase.objects.filter(user_key=fine.pk).update(missing=True, last_error="Old: story")
    with use_user(outdated), connections[alias_of(str(outdated.pk))].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'archive'")

    rows = shown("--verify")
    assert [(row["user"], row["state"], row["schema"]) for row in rows.values()] == [
        (str(fine.pk), "ready", "current"),
        (str(lost.pk), "missing", "current"),
        (str(outdated.pk), "ready", "outdated"),
        (str(waiting.pk), "ready", "current"),
        (str(broken.pk), "ready", "current"),
        (str(odd.pk), "ready", "current"),
    ]
    assert rows[str(fine.pk)]["size"] > 4096
    assert rows[str(fine.pk)]["last_used"].startswith("20")
    assert rows[str(fine.pk)]["last_error"] == ""
    assert "is registered but its file is missing" in rows[str(lost.pk)]["last_error"]
    assert "file is not a database" in rows[str(broken.pk)]["last_error"]
    assert all(row["verified"] for row in rows.values())
    assert row_of(gone).state == "deleted"
    assert list(shown("--state", "missing")) == [str(lost.pk)]
    assert list(shown("--state", "deleted")) == [str(gone.pk)]


def test_show__verify_rebuilds_a_registry_that_is_lost() -> None:
    users = sign_up("alice", "bob", "carol")
    UserDatabase.objects.all().delete()
    assert shown() == {}
    rows = shown("--verify")
    assert sorted(rows) == sorted(str(user.pk) for user in users)
    assert {(row["state"], row["schema"]) for row in rows.values()} == {("ready", "current")}


def test_show__filters_orders_and_limits() -> None:
    alice, bob, carol, dave = sign_up("alice", "bob", "carol", "dave")
    days = [timezone.now() - timedelta(days=number) for number in (1, 40, 100)]
    for user, size, used in zip((alice, bob, carol), (10, 3000, 200), days, strict=True):
        UserDatabase.objects.filter(user_key=user.pk).update(size=size, last_used=used)
    UserDatabase.objects.filter(user_key=dave.pk).update(size=None, last_used=None, schema="")
    UserDatabase.objects.filter(user_key=bob.pk).update(last_error="Odd: it is")

    def names(*arguments: str) -> list[str]:
        keys = {str(user.pk): user.username for user in (alice, bob, carol, dave)}
        return [keys[key] for key in shown(*arguments)]

    assert names() == ["alice", "bob", "carol", "dave"]
    assert names("--reverse") == ["dave", "carol", "bob", "alice"]
    assert names("--limit", "2") == ["alice", "bob"]
    assert names("--failed") == ["bob"]
    assert names("--outdated") == ["dave"]
    assert names("--larger-than", "100") == ["bob", "carol"]
    assert names("--larger-than", "2.5KB") == ["bob"]
    assert names("--unused-since", "30d") == ["bob", "carol"]
    bobs = timezone.localtime(days[1])  # Because dates are read as those of the site's time zone.
    assert names("--unused-since", f"{bobs + timedelta(1):%Y-%m-%d}") == ["bob", "carol"]
    assert names("--unused-since", f"{bobs:%Y-%m-%dT00:00}") == ["carol"]
    assert names("--sort", "size") == ["alice", "carol", "bob", "dave"]
    assert names("--sort", "size", "--reverse") == ["bob", "carol", "alice", "dave"]
    assert names("--sort", "last-used") == ["carol", "bob", "alice", "dave"]
    assert names("--user", "bob", "--user", "alice", "--failed") == ["bob"]
    assert names("--exclude", "bob") == ["alice", "carol", "dave"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--larger-than", "much"],
            "--larger-than: 'much' is no size; write it as in 500KB, 20MB or 1GB",
        ),
        (
            ["--unused-since", "ever"],
            "--unused-since: 'ever' is no moment; write 2026-01-31, or 90d for days ago",
        ),
        (
            ["--unused-since", "2026-02-31"],
            "--unused-since: '2026-02-31' is no moment; write 2026-01-31, or 90d for days ago",
        ),
        (["--limit", "0"], "--limit: '0' is no number from 1 on"),
        (["--workers", "x"], "--workers: 'x' is no number from 1 on"),
    ],
)
def test_show__wrong_usage(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        run("show_user_dbs", *arguments)
    assert str(caught.value) == f"Error: argument {message}"


def test_show__table() -> None:
    alice, bob = sign_up("alice", "bob")
    UserDatabase.objects.filter(user_key=bob.pk).update(last_error="a long story " * 9, schema="")
    output = run("show_user_dbs")
    lines = output.splitlines()
    assert re.split(r"\s*┃\s*", lines[1])[1:-1] == [
        *["user", "state", "schema", "size", "last used", "migrated", "last error"]
    ]
    assert re.match(rf"│ {alice.pk} +│ ready │ current +│ \d+\.\d\sKB │ 20", lines[3])
    assert "…" not in output
    assert re.fullmatch(r"2 user databases, \d+\.\d\sKB, 1 outdated, 1 failed\.", lines[-1])
    assert run("show_user_dbs", "--exclude", "bob").splitlines()[-1].startswith("1 user databases")
    cut = run("show_user_dbs", "--limit", "1").splitlines()
    assert cut[-2] == "There are more; show them with --limit, or with --json."
    assert cut[-1].startswith("2 user databases")
    assert run("show_user_dbs", "--state", "missing") == "0 user databases, 0\xa0bytes.\n"


def test_show__key_is_never_shortened() -> None:
    key = "0123456789" * 20
    UserDatabase.objects.create(user_key=key, state="ready")
    cells = re.findall(r"^│ (\d+) *│", run("show_user_dbs"), re.MULTILINE)
    assert "".join(cells) == key


def test_show__runs() -> None:
    assert run("show_user_dbs", "--runs") == "There were no runs.\n"
    assert run("show_user_dbs", "--runs", "--json") == "[]\n"
    _, bob = sign_up("alice", "bob")
    run("migrate_user_dbs")
    corrupt(bob)
    refused("run_on_user_dbs", "dumpdata", "notes.Note")
    run("show_user_dbs", "--user", "alice")  # Looking is no run.

    last, first = json.loads(run("show_user_dbs", "--runs", "--json"))
    assert list(last) == [
        *["run", "command", "started", "finished", "outcome", "done", "failed", "failures"]
    ]
    assert [(each["command"], each["outcome"]) for each in (first, last)] == [
        ("migrate_user_dbs", "done"),
        ("run_on_user_dbs dumpdata notes.Note", "failed"),
    ]
    assert [(each["done"], each["failed"]) for each in (first, last)] == [(0, 0), (1, 1)]
    assert list(last["failures"]) == [str(bob.pk)]
    assert last["failures"][str(bob.pk)].startswith("CommandError: Unable to serialize database:")
    assert last["started"] < last["finished"]

    output = run("show_user_dbs", "--runs", "--limit", "1")
    assert "dumpdata" in output
    assert "migrate_user_dbs" not in output
    assert output.endswith("There are more; show them with --limit, or with --json.\n")


# run_on_user_dbs


def test_run__dumpdata_and_loaddata_and_flush(tmp_path: Path) -> None:
    alice, bob = sign_up("alice", "bob")
    write(alice, "hers")
    write(bob, "his")
    output = run("run_on_user_dbs", "dumpdata", "notes.Note", "--indent", "1")
    assert output.startswith(f"User {alice.pk}:\n[\n")
    assert output.index("hers") < output.index(f"User {bob.pk}:") < output.index("his")
    assert output.endswith("2 of 2 user databases done.\n")

    fixture = tmp_path / "notes.json"
    fields = {"text": "loaded", "tags": []}
    fixture.write_text(json.dumps([{"model": "notes.note", "pk": 50, "fields": fields}]))
    run("run_on_user_dbs", "--user", "bob", "loaddata", str(fixture))
    assert (texts(alice), texts(bob)) == (["hers"], ["his", "loaded"])

    run("run_on_user_dbs", "--exclude", "alice", "flush", "--noinput")
    assert (texts(alice), texts(bob)) == (["hers"], [])

    some = ["--user", "alice", "--user", str(sign_up("carol")[0].pk)]
    assert run("run_on_user_dbs", *some, "flush", "--noinput") == "2 of 2 user databases done.\n"
    assert (texts(alice), texts(bob)) == ([], [])
    assert User.objects.count() == 3
    assert UserDatabase.objects.count() == 3


def test_run__command_without_a_database_option_runs_as_the_user() -> None:
    alice, bob = sign_up("alice", "bob")

    class Count(BaseCommand):
        def handle(self, *args: object, **options: object) -> None:
            self.stdout.write(f"{current_user_id()} has {Note.objects.count()}")

    write(bob, "x")
    with mock.patch("django.core.management.commands.diffsettings.Command", Count):
        output = run("run_on_user_dbs", "diffsettings")
    assert output == (
        f"User {alice.pk}:\n{alice.pk} has 0\nUser {bob.pk}:\n{bob.pk} has 1\n"
        "2 of 2 user databases done.\n"
    )


def test_run__command_that_exits_is_one_users_failure() -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")

    class Leave(BaseCommand):
        def handle(self, *args: object, **options: object) -> None:
            if current_user_id() == alice.pk:
                raise SystemExit(3)
            if current_user_id() == bob.pk:
                raise SystemExit
            self.stdout.write("done")

    with mock.patch("django.core.management.commands.diffsettings.Command", Leave):
        assert refused("run_on_user_dbs", "diffsettings") == (
            (
                "1 user databases failed, all others are done. Mend the causes and run it again:\n"
                f"  {alice.pk}: diffsettings exited with 3."
            ),
            1,
        )
    assert carol.pk is not None


def test_run__the_option_for_the_database_whatever_it_is_called() -> None:
    alice, bob = sign_up("alice", "bob")

    class Count(BaseCommand):
        def add_arguments(self, parser: CommandParser) -> None:
            parser.add_argument("--using", default="default")
            parser.add_argument("--targets", action="append", choices=tuple(connections))

        def handle(self, *args: object, **options: object) -> None:
            self.stdout.write(f"{options['using']} {options['targets']}")
            self.stderr.write("and a warning")

    with mock.patch("django.core.management.commands.diffsettings.Command", Count):
        output = run("run_on_user_dbs", "diffsettings")
        assert refused("run_on_user_dbs", "diffsettings", "--using=default") == (
            "--using is left out here: the command gets each user's database.",
            2,
        )
    assert output == (
        f"User {alice.pk}:\nuser_{alice.pk} ['user_{alice.pk}']\nand a warning\n"
        f"User {bob.pk}:\nuser_{bob.pk} ['user_{bob.pk}']\nand a warning\n"
        "2 of 2 user databases done.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--tag", "models"],
        ["inspectdb", "notes_note"],
        ["sqlsequencereset", "notes"],
        ["sqlmigrate", "notes", "0001"],
        ["sqlflush"],
        ["showmigrations", "notes"],
        ["dumpdata", "notes"],
        ["createcachetable", "--dry-run"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_run__djangos_own_commands(arguments: list[str]) -> None:
    sign_up("alice")
    assert run("run_on_user_dbs", *arguments).endswith("1 of 1 user databases done.\n")


@pytest.mark.parametrize("name", ["dbshell", "shell", "runserver", "test", "testserver"])
def test_run__commands_that_are_no_work_on_a_database(name: str) -> None:
    message, code = refused("run_on_user_dbs", name)
    assert message.startswith(f"{name} is not run for users. ")
    assert code == 2


def test_run__one_who_is_named_explicitly_names_no_database() -> None:
    sign_up("alice")
    assert refused("run_on_user_dbs", "dumpdata", "--database", "default") == (
        "--database is left out here: the command gets each user's database.",
        2,
    )


def test_run__one_that_is_broken_does_not_stop_the_others() -> None:
    alice, bob = sign_up("alice", "bob")
    corrupt(alice)
    write(bob, "his")
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("run_on_user_dbs", "--json", "dumpdata", "notes.Note", stdout=output)
    assert caught.value.returncode == 1
    first, second = json.loads(output.getvalue())
    assert (first["ok"], second["ok"], "his" in second["output"]) == (False, True, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_command"], "There is no management command 'no_such_command'."),
        (["dumpdata", "--no-such-option"], "Error: unrecognized arguments: --no-such-option"),
        (["dumpdata", "--indent", "x"], "Error: argument --indent: invalid int value: 'x'"),
        (["--user", "eve", "dumpdata"], "There is no user with the name or the key 'eve'."),
    ],
)
def test_run__wrong_usage(arguments: list[str], message: str) -> None:
    sign_up("alice")
    assert refused("run_on_user_dbs", *arguments) == (message, 2)


# As operators run them


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site with three users, the second of whom has a broken database."""
    directory = tmp_path_factory.mktemp("commands")
    site = Site(directory)
    site.run(
        """
call_command("migrate", verbosity=0)
from tests.notes.models import Note
for name in ("alice", "bob", "carol"):
    with use_user(User.objects.create(username=name)):
        Note.objects.create(text="of " + name)
"""
    )
    (bobs,) = site.location.glob("??/2/1/db.sqlite3")
    bobs.write_bytes(b"garbage" * 2000)
    for sidecar in bobs.parent.glob("db.sqlite3-*"):
        sidecar.unlink()
    yield site
    shutil.rmtree(directory)


def exits(finished: "subprocess.CompletedProcess[str]") -> tuple[int, str, str]:
    return finished.returncode, finished.stdout, finished.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "stdout", "stderr"),
    [
        (
            "migrate_user_dbs",
            0,
            "^0 of 0 user databases migrated, 3 were current already.\n$",
            "^$",
        ),
        (
            "migrate_user_dbs --user alice --user carol",
            0,
            "^2 of 2 user databases migrated.\n$",
            "^$",
        ),
        (
            "migrate_user_dbs --verify",
            1,
            "^0 of 1 user databases migrated, 2 were current already.\n$",
            "^CommandError: 1 user databases failed, .*\n  2: .* file is not a database",
        ),
        ("migrate_user_dbs --user eve", 2, "^$", "^CommandError: There is no user"),
        ("migrate_user_dbs --no-such-option", 2, "^$", "unrecognized arguments"),
        ("create_user_db --user alice", 1, "^0 of 1 .* made.\n$", "has a database already"),
        ("show_user_dbs --json", 0, r'"state": "ready"', "^$"),
        (
            "run_on_user_dbs --user carol dumpdata notes.Note --indent 1",
            0,
            '^User 3:\n\\[\n.*"of carol"',
            "^$",
        ),
        ("run_on_user_dbs --user carol nonsense", 2, "^$", "no management command 'nonsense'"),
        ("run_on_user_dbs", 2, "^$", "required: COMMAND"),
        ("run_on_user_dbs --json dumpdata notes.Note", 1, '"ok": false', "1 user databases failed"),
    ],
)
def test_exit_code(site: Site, arguments: str, code: int, stdout: str, stderr: str) -> None:
    finished = site.manage(*arguments.split())
    assert finished.returncode == code, exits(finished)
    assert re.search(stdout, finished.stdout, re.DOTALL), exits(finished)
    assert re.search(stderr, finished.stderr, re.DOTALL), exits(finished)


TESTSERVER = """
from unittest import mock
from django.contrib.auth.models import User
from django.core import serializers
from dsud import use_user
from dsud.engines import engine
from tests.notes.models import Note

alice = User.objects.create_user("alice")
with use_user(alice):
    Note.objects.create(text="of the site")
production = engine().location
with open("people.json", "w") as file:
    file.write(serializers.serialize("json", [alice]))

def serve(name, *labels, **options):
    if name != "runserver":
        return call_command(name, *labels, **options)
    assert not engine().location.is_relative_to(production.parent), engine().location
    with use_user(alice.pk):
        assert not Note.objects.exists()
        Note.objects.create(text="of the test server")
    print(engine().location)

with mock.patch("django.core.management.commands.testserver.call_command", serve):
    call_command("testserver", "people.json", interactive=False, verbosity=0)
(path,) = production.rglob("db.sqlite3")
import sqlite3
print(sqlite3.connect(path).execute("SELECT text FROM notes_note").fetchall())
"""


def test_testserver__leaves_the_databases_of_the_site_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    location, rows = run_script(TESTSERVER, directory=tmp_path).splitlines()
    assert rows == "[('of the site',)]"
    assert not Path(location).exists()
