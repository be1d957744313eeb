"""The schema that the code wants: told apart by its fingerprint, reached by migrations, never by copying."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models.signals import post_migrate

from dsud import engines, provisioning, schema
from dsud.connections import alias_of, temporary
from dsud.context import Block, TemporaryActivation, use_user
from dsud.router import TEMPLATE_ALIAS
from tests.library.models import Book
from tests.notes.models import Note
from tests.sites import Site

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_templates")]


@pytest.fixture
def own_templates(location: Path) -> Iterator[None]:
    """Let each test build its templates itself."""
    templates = engines.engine()._templates
    templates._images = {}
    schema.fingerprint.cache_clear()
    yield
    schema.fingerprint.cache_clear()


def install(settings: pytest_django.Settings, *names: str) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *(f"tests.{name}" for name in names)]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, *names]


def templates(location: Path) -> list[str]:
    return sorted(path.name for path in (location / ".template").iterdir() if path.suffix)


def objects(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name != 'dsud_identity' ORDER BY name"
    ).fetchall()


# The fingerprint


def test_fingerprint__has_a_fixed_form() -> None:
    assert len(schema.fingerprint()) == 32
    assert int(schema.fingerprint(), 16) >= 0


def changed(change: object) -> bool:
    before = schema.fingerprint()
    change()
    schema.fingerprint.cache_clear()
    return schema.fingerprint() != before


def test_fingerprint__another_model_becomes_a_user_model(settings: pytest_django.Settings) -> None:
    before = schema.fingerprint()
    settings.DSUD_APPS = ["notes"]
    assert schema.fingerprint() != before
    settings.DSUD_APPS = ["notes", "library.Loan", "archive"]
    assert schema.fingerprint() == before
    settings.DSUD_APPS = ["notes", "library.Book"]
    assert schema.fingerprint() != before


def test_fingerprint__another_app(settings: pytest_django.Settings) -> None:
    before = schema.fingerprint()
    install(settings, "evolving")
    assert schema.fingerprint() != before


def test_fingerprint__another_django(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed(lambda: monkeypatch.setattr("django.get_version", lambda: "99.0"))


def test_fingerprint__migration_is_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def edited(path: Path) -> bytes:
        return read(path) + (b"# edited" if path.match("notes/migrations/0001_initial.py") else b"")

    assert changed(lambda: monkeypatch.setattr(Path, "read_bytes", edited))


def test_fingerprint__shared_migration_is_edited_or_added(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def edited(path: Path) -> bytes:
        return read(path) + (b"# edited" if "sessions" in path.parts else b"")

    assert not changed(lambda: monkeypatch.setattr(Path, "read_bytes", edited))


def test_fingerprint__app_without_migrations_changes_its_tables(
    settings: pytest_django.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(settings, "plain")
    from tests.plain.models import Leaf

    assert changed(lambda: monkeypatch.setattr(Leaf._meta.get_field("name"), "max_length", 21))
    assert changed(lambda: monkeypatch.setattr(Leaf._meta, "unique_together", (("name", "place"),)))
    assert not changed(lambda: monkeypatch.setattr(Leaf._meta.get_field("name"), "help_text", "x"))


def test_fingerprint__is_the_same_in_every_process(tmp_path: Path) -> None:
    """Where objects lie in memory, and in which order sets are walked, differs from run to run."""
    code = """
from django.test import modify_settings, override_settings
with modify_settings(INSTALLED_APPS={"append": ["tests.plain", "tests.evolving"]}):
    with override_settings(DSUD_APPS=["notes", "library.Loan", "plain", "evolving"]):
        print(schema.fingerprint())
"""
    seen = set()
    for seed in ("1", "2", "3"):
        os.environ["PYTHONHASHSEED"] = seed
        try:
            seen.add(Site(tmp_path).run(code))
        finally:
            del os.environ["PYTHONHASHSEED"]
    assert len(seen) == 1


# The template


def test_template__has_what_migrate_makes_on_an_empty_file(
    settings: pytest_django.Settings, tmp_path: Path
) -> None:
    install(settings, "plain", "evolving")
    user = User.objects.create(username="alice")
    plain = tmp_path / "plain.sqlite3"
    plain.touch()
    alias = f"{TEMPLATE_ALIAS}_plain"
    with temporary(alias, {"NAME": str(plain)}), Block(TemporaryActivation(alias)):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    with use_user(user), closing(sqlite3.connect(plain)) as expected:
        connection = connections[alias_of(str(user.pk))]
        connection.ensure_connection()
        assert objects(connection.connection) == objects(expected)
        recorded = "SELECT app, name FROM django_migrations ORDER BY id"
        rows = connection.connection.execute(recorded).fetchall()
        assert rows == expected.execute(recorded).fetchall()
        names = {name for _, name, _ in objects(expected)}
    assert {"notes_note", "library_loan", "plain_leaf", "leaf_place", "evolving_shelf"} <= names
    assert {"auth_user", "django_content_type"} <= names
    assert not {"library_book", "auth_group", "auth_user_groups", "dsud_userdatabase"} & names


def test_template__rows_of_data_migrations_are_in_it(settings: pytest_django.Settings) -> None:
    install(settings, "evolving")
    from tests.evolving.models import Shelf

    user = User.objects.create(username="alice")
    with use_user(user):
        assert list(Shelf.objects.values_list("pk", "name")) == [
            (1, "from python"),
            (2, "from sql"),
        ]
        assert Shelf.objects.create(name="mine").pk == 3


def test_template__is_never_a_users_database(settings: pytest_django.Settings) -> None:
    alice, bob = (User.objects.create(username=name) for name in ("alice", "bob"))
    with use_user(alice):
        Note.objects.create(text="hers")
    settings.DSUD_APPS = ["notes"]
    with use_user(bob):
        assert Note.objects.count() == 0


def test_template__is_built_anew_when_the_schema_changes(
    location: Path, settings: pytest_django.Settings
) -> None:
    provisioning.prepare()
    before = templates(location)
    assert before == [f"{schema.fingerprint()}.sqlite3"]
    settings.DSUD_APPS = ["notes"]
    provisioning.prepare()
    assert templates(location) == [f"{schema.fingerprint()}.sqlite3"] != before


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_template__damaged_file_is_built_anew(location: Path, content: bytes) -> None:
    provisioning.prepare()
    (path,) = (location / ".template").glob("*.sqlite3")
    sound = path.read_bytes()
    path.write_bytes(content)
    engines.engine()._templates._images = {}
    user = User.objects.create(username="alice")
    with use_user(user):
        assert Note.objects.count() == 0
    assert abs(len(path.read_bytes()) - len(sound)) < 4096


def test_template__inside_an_open_transaction(location: Path) -> None:
    with transaction.atomic():
        Book.objects.create(title="before")
        with transaction.atomic():
            user = User.objects.create(username="alice")
            with use_user(user):
                Note.objects.create(text="x")
                assert templates(location)
        Book.objects.create(title="after")
        assert Book.objects.count() == 2
        transaction.set_rollback(True)
    assert (Book.objects.count(), User.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_template__receivers_of_post_migrate_do_no_harm() -> None:
    """Those of contenttypes and auth ask the router; one that makes users is told to come later."""
    types = ContentType.objects.count()
    made = []

    def make_somebody(using: str, **kwargs: object) -> None:
        made.append(User.objects.get_or_create(username="somebody")[1])

    post_migrate.connect(make_somebody)
    try:
        alice = User.objects.create(username="alice")
    finally:
        post_migrate.disconnect(make_somebody)
    assert made[0] is True
    assert ContentType.objects.count() == types
    for user in (alice, User.objects.get(username="somebody")):
        with use_user(user):
            assert Note.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_template__migration_that_fails_leaves_none(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: dict[str, object]) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrate_template", fail)
        user = User.objects.create(username="alice")
        with use_user(user), pytest.raises(ZeroDivisionError):
            Note.objects.count()
    assert not any(name.startswith(schema.fingerprint()) for name in templates(location))
    with use_user(user):
        assert Note.objects.count() == 0


# Migrating and asking


@pytest.mark.django_db(transaction=True)
def test_migrate__as_the_user_and_back(settings: pytest_django.Settings) -> None:
    install(settings, "evolving")
    from tests.evolving.models import Shelf

    alice, bob = (User.objects.create(username=name) for name in ("alice", "bob"))
    alias = alias_of(str(alice.pk))
    with use_user(alice):
        assert schema.is_current(alias)
        Shelf.objects.create(name="mine")
        output = schema.migrate(alias, "evolving", "0001", verbosity=1)
        assert "Unapplying evolving.0003_rebuild... OK" in output
        assert not schema.is_current(alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT name FROM evolving_shelf")
            assert cursor.fetchall() == [("mine",)]
        schema.migrate(alias, verbosity=0)
        assert schema.is_current(alias)
        assert list(Shelf.objects.order_by("pk").values_list("name", flat=True)) == [
            "mine",
            "from python",
            "from sql",
        ]
    with use_user(bob):
        assert Shelf.objects.count() == 2


def test_is_current__model_became_a_user_model_after_its_migration(
    settings: pytest_django.Settings,
) -> None:
    settings.DSUD_APPS = ["notes"]
    alice = User.objects.create(username="alice")
    with use_user(alice):
        alias = alias_of(str(alice.pk))
        assert schema.is_current(alias)
        settings.DSUD_APPS = ["notes", "library.Loan"]
        assert not schema.is_current(alias)


@pytest.mark.parametrize(
    "target",
    [(), ("notes",), ("notes", "zero"), ("notes", "0001"), ("notes", "0001_initial"), ("auth",)],
)
def test_check_target__that_can_be_reached(target: tuple[str, ...]) -> None:
    schema.check_target(*target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (("note",), "No installed app with label 'note'."),
        (("notes", "0042"), "Cannot find a migration matching '0042' from app 'notes'."),
        (
            ("auth", "000"),
            "More than one migration matches '000' in app 'auth'. Please be more specific.",
        ),
        (
            ("dsud",),
            (
                "App 'dsud' has no user models, so that user databases have none of its tables."
                " Those are migrated by `manage.py migrate dsud`."
            ),
        ),
        (
            ("sessions", "zero"),
            (
                "App 'sessions' has no user models, so that user databases have none"
                " of its tables. Those are migrated by `manage.py migrate sessions`."
            ),
        ),
    ],
)
def test_check_target__that_there_is_not(target: tuple[str, ...], message: str) -> None:
    with pytest.raises(schema.UnknownMigration) as caught:
        schema.check_target(*target)
    assert str(caught.value) == message


def test_check_target__with_and_without_migrations(settings: pytest_django.Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.plain"]
    apps.clear_cache()
    settings.DSUD_APPS = [*settings.DSUD_APPS, "plain"]
    schema.check_target("plain", run_syncdb=True)
    with pytest.raises(schema.UnknownMigration) as caught:
        schema.check_target("plain")
    assert str(caught.value) == "App 'plain' does not have migrations."
    with pytest.raises(schema.UnknownMigration) as caught:
        schema.check_target("notes", run_syncdb=True)
    assert str(caught.value) == "Can't use run_syncdb with app 'notes' as it has migrations."
