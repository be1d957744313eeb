"""Histories of apps with both user and shared models run on both sides, each with its own rows only."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connections, router
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState
from django.db.utils import DatabaseError

from dsud.connections import alias_of
from dsud.context import use_user
from dsud.exceptions import NoActiveUser
from dsud.router import migrating
from dsud.stand_ins import OriginalsUnreadable, OtherSideChanged
from tests.library.models import Book, Loan
from tests.sites import Site

#: What tells the state of both sides: shared rows, tables, and the rows of each user.
LOOK = """
import json
from tests.bazaar.models import Label, Stand, Ware
def tables(alias):
    names = connections[alias].introspection.table_names()
    return sorted(name for name in names if name.startswith("bazaar"))
def look():
    found = {"stands": list(Stand.objects.order_by("pk").values_list("name", flat=True))}
    found["default"] = tables("default")
    for user in User.objects.order_by("pk"):
        with use_user(user), as_they_are():
            connections[f"user_{user.pk}"].ensure_connection()
            found[str(user)] = {
                "wares": list(Ware.objects.order_by("pk").values_list("title", "slug")),
                "labels": list(Label.objects.order_by("pk").values_list("name", flat=True)),
                "tables": tables(f"user_{user.pk}"),
            }
    print(json.dumps(found))
"""


def look(site: Site, code: str = "") -> dict[str, object]:
    return json.loads(site.run(LOOK + code + "\nlook()").splitlines()[-1])


@pytest.fixture(params=["tests.bazaar_settings", "tests.bazaar_keyed_settings"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Return a site of its own, with Django's users or others."""
    return Site(tmp_path, settings=request.param)


SIGN_UP = """
call_command("migrate", verbosity=0)
key = {User.USERNAME_FIELD: "alice"}, {User.USERNAME_FIELD: "bob"}
alice, bob = (User.objects.create(**names) for names in key)
"""

BORN = ["in each user's database", "by sql"]


@pytest.mark.slow
def test_history__of_both_sides_on_empty_databases(site: Site) -> None:
    found = look(site, SIGN_UP)

    assert found["stands"] == ["OPENED AS NUMBER 0", "in default only"]
    assert found["default"] == ["bazaar_stand"]
    here = {"wares": [], "labels": BORN, "tables": ["bazaar_label", "bazaar_ware"]}
    assert (found["alice"], found["bob"]) == (here, here)


BACK_TO_THE_BEGINNING = """
call_command("migrate", "bazaar", "0001", verbosity=0)
call_command("migrate_user_dbs", "bazaar", "0001", verbosity=0)
def insert(alias, table, **row):
    with connections[alias].cursor() as cursor:
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))
insert("default", "bazaar_stall", id=70, name="fish")
for user, title in ((alice, "Cod"), (bob, "Eel")):
    with use_user(user), as_they_are():
        insert(f"user_{user.pk}", "bazaar_offer", owner_id=user.pk, stall_id=70, title=title)
"""


@pytest.mark.slow
def test_history__of_both_sides_where_there_are_rows(tmp_path: Path) -> None:
    site = Site(tmp_path, settings="tests.bazaar_settings")
    site.run(SIGN_UP + BACK_TO_THE_BEGINNING)
    for command in (["migrate"], ["migrate_user_dbs"]):
        finished = site.manage(*command)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    found = look(site)
    # Each operation ran once on each side, and nothing on one side left a trace on the other.
    assert found["stands"] == [
        "OPENED AS NUMBER 0",
        "IN DEFAULT ONLY",
        "FISH",
        "OPENED AS NUMBER 3",
        "in default only",
    ]
    assert found["default"] == ["bazaar_stand"]
    tables = ["bazaar_label", "bazaar_ware"]
    assert found["alice"] == {
        "wares": [["fresh: Cod of alice at FISH.", "real"]],
        "labels": BORN,
        "tables": tables,
    }
    assert found["bob"]["wares"] == [["fresh: Eel of bob at FISH.", "real"]]


@pytest.mark.slow
def test_history__squashed(tmp_path: Path) -> None:
    site = Site(tmp_path, settings="tests.bazaar_settings")
    before = look(site, SIGN_UP)
    squashed = "from django.conf import settings\n"
    squashed += "settings.MIGRATION_MODULES = {'bazaar': 'tests.bazaar.squashed'}\n"
    after = look(
        site,
        squashed
        + 'call_command("migrate", verbosity=0)\ncall_command("migrate_user_dbs", verbosity=0)\n'
        + "User.objects.create(**{User.USERNAME_FIELD: 'carol'})",
    )
    assert {name: after[name] for name in before} == before
    assert after["carol"] == before["alice"]


# One operation at a time


def operate(
    operation: RunPython | RunSQL, alias: str, *, app: str = "library", atomic: bool = True
) -> None:
    """Run an operation on a database as a migration does."""
    state = ProjectState.from_apps(apps)
    with connections[alias].schema_editor(atomic=atomic) as editor:
        operation.database_forwards(app, editor, state, state)


def python(function: Callable[..., None], **options: object) -> RunPython:
    return RunPython(lambda state_apps, editor: function(state_apps.get_model, editor), **options)


@pytest.fixture
def side(location: object, transactional_db: None, alice: User) -> str:
    """Return the alias of a user's database, whose user nobody has made active."""
    return alias_of(str(alice.pk))


def temporary_tables(alias: str) -> list[str]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_temp_master WHERE type = 'table'")
        return [name for (name,) in cursor.fetchall()]


def test_user_side__reads_shared_rows_and_keeps_none(side: str, alice: User) -> None:
    Book.objects.create(pk=5, title="Emma")
    Book.objects.create(pk=7, title="Persuasion")

    def borrow(model, editor):
        book = model("library", "Book").objects.get(title="Emma")
        book.title = "changed"
        book.save()
        model("library", "Book").objects.using(editor.connection.alias).filter(pk=7).delete()
        model("library", "Book").objects.create(title="new")
        model("library", "Loan").objects.create(book=book, reader_id=alice.pk)
        assert model("library", "Loan").objects.filter(book__title="changed").count() == 1

    operate(python(borrow), side)

    assert list(Book.objects.values_list("pk", "title")) == [(5, "Emma"), (7, "Persuasion")]
    with use_user(alice):
        assert Loan.objects.get().book == Book.objects.get(pk=5)
        assert "library_book" not in connections[side].introspection.table_names()
        assert temporary_tables(side) == []


def test_user_side__keys_to_rows_that_would_be_lost(side: str, alice: User) -> None:
    def borrow(model, editor):
        book = model("library", "Book").objects.create(title="of one user only")
        model("library", "Loan").objects.create(book=book, reader_id=alice.pk)

    with pytest.raises(OtherSideChanged) as caught:
        operate(python(borrow), side)
    assert str(caught.value) == (
        "The migration made rows of library.Book in a user's database and points library.Loan.book to"
        " them (keys [1]), but they are shared and would be lost. Make them in a RunPython with"
        ' hints={"user_databases": False}, which runs once in default, and look them up in another'
        ' with hints={"user_databases": True}.'
    )
    with use_user(alice):
        assert not Loan.objects.exists()


def test_user_side__works_on_a_copy_of_the_user_without_the_password(
    side: str, alice: User
) -> None:
    found = []

    def look_at_users(model, editor):
        found.extend(model("auth", "User").objects.values_list("username", "password"))

    operate(python(look_at_users), side)
    assert found == [("alice", "")]


def test_user_side__default_is_ahead(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_at_books(model, editor):
        list(model("library", "Book").objects.all())

    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE library_book RENAME COLUMN title TO name")
    try:
        with pytest.raises(OriginalsUnreadable) as caught:
            operate(python(look_at_books), side)
    finally:
        with connections["default"].cursor() as cursor:
            cursor.execute("ALTER TABLE library_book RENAME COLUMN name TO title")
    assert str(caught.value) == (
        "A migration of a user's database reads rows of library.Book, which are shared, and default is"
        " at another migration: its table has other columns. Bring both to the same migration, one"
        " after the other, or say that the operation belongs to default:"
        ' hints={"user_databases": False}.'
    )


def test_user_side__another_error_is_no_reason_to_try_again(side: str) -> None:
    calls = []

    def fail(model, editor):
        calls.append(1)
        editor.execute("SELECT * FROM nowhere")

    with pytest.raises(DatabaseError, match=r"^no such table: nowhere$"):
        operate(python(fail), side)
    assert calls == [1]


@pytest.mark.parametrize("atomic", [True, False])
def test_user_side__not_atomic(side: str, alice: User, *, atomic: bool) -> None:
    Book.objects.create(pk=5, title="Emma")
    calls = []

    def borrow(model, editor):
        calls.append(editor.connection.in_atomic_block)
        book = model("library", "Book").objects.get()
        model("library", "Loan").objects.create(book=book, reader_id=alice.pk)

    operate(python(borrow, atomic=atomic), side, atomic=atomic)
    # What is not atomic is not run again, because what it did stays.
    assert calls == ([True, True] if atomic else [False])
    with use_user(alice):
        assert Loan.objects.get().book_id == 5
        assert temporary_tables(side) == []


def test_default__has_no_rows_of_users_and_keeps_none(
    location: object, transactional_db: None, alice: User
) -> None:
    with use_user(alice):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader=alice)
    seen = []

    def move(model, editor):
        loans = model("library", "Loan").objects
        seen.append((loans.count(), loans.using("default").count()))
        book = model("library", "Book").objects.create(title="shared")
        loans.create(book=book, reader_id=alice.pk)
        seen.append(loans.filter(book__title="shared", reader__username="alice").count())

    operate(python(move), "default")

    assert seen == [(0, 0), 1]
    assert list(Book.objects.values_list("title", flat=True)) == ["Emma", "shared"]
    assert temporary_tables("default") == []
    assert "library_loan" not in connections["default"].introspection.table_names()
    with use_user(alice):
        assert Loan.objects.count() == 1
    with pytest.raises(NoActiveUser):
        Loan.objects.count()


def test_default__real_table_of_an_unsplit_site_stays_out_of_reach(
    location: object, transactional_db: None
) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE library_loan (id integer, book_id integer, reader_id integer)")
        cursor.execute("INSERT INTO library_loan VALUES (1, 2, 3)")
    try:
        operate(
            python(lambda model, editor: model("library", "Loan").objects.all().delete()), "default"
        )
        operate(RunSQL("DELETE FROM library_loan"), "default")
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT * FROM library_loan")
            assert cursor.fetchall() == [(1, 2, 3)]
    finally:
        with connections["default"].cursor() as cursor:
            cursor.execute("DROP TABLE library_loan")


def test_default__stand_ins_are_gone_after_an_error(
    location: object, transactional_db: None
) -> None:
    def fail(model, editor):
        raise ZeroDivisionError

    for atomic in (True, False):
        with pytest.raises(ZeroDivisionError):
            operate(python(fail, atomic=atomic), "default", atomic=atomic)
        assert temporary_tables("default") == []
        assert migrating.get() is None


# SQL belongs where the tables are that it names


@pytest.mark.parametrize(
    ("sql", "hints", "expected"),
    [
        ("UPDATE library_book SET title = 'x'", {}, ["default"]),
        ("UPDATE library_loan SET book_id = 1", {}, ["user"]),
        ("SELECT 1", {}, ["default", "user"]),
        (
            "DELETE FROM library_loan WHERE book_id NOT IN (SELECT id FROM library_book)",
            {},
            ["default", "user"],
        ),
        ("SELECT 1", {"user_databases": True}, ["user"]),
        ("SELECT 1", {"user_databases": False}, ["default"]),
        ("UPDATE library_book SET title = 'x'", {"user_databases": True}, ["user"]),
    ],
)
def test_sql__runs_where_its_tables_are(
    side: str, sql: str, hints: dict[str, bool], expected: list[str]
) -> None:
    ran = []
    for name, alias in (("default", "default"), ("user", side)):
        with connections[alias].execute_wrapper(
            lambda execute, text, *rest, name=name: (
                ran.append(name) if text == sql + ";" or text == sql else None,
                execute(text, *rest),
            )[1]
        ):
            operate(RunSQL(sql, hints=hints), alias)
    assert sorted(set(ran)) == expected


def test_hint__decides_for_python(side: str) -> None:
    ran = []
    for hint in (True, False, None):
        for alias in ("default", side):
            hints = {} if hint is None else {"user_databases": hint}
            operate(python(lambda *_, a=alias, h=hint: ran.append((h, a)), hints=hints), alias)
    assert ran == [(True, side), (False, "default"), (None, "default"), (None, side)]


def test_noop__makes_no_stand_ins(location: object, transactional_db: None) -> None:
    ran = []
    with connections["default"].execute_wrapper(lambda *call: ran.append(call[1])):
        RunPython(RunPython.noop).database_forwards(
            "library",
            connections["default"].SchemaEditorClass(connections["default"]),
            ProjectState(),
            ProjectState(),
        )
    assert ran == []


def test_router__sends_everything_to_where_a_migration_works(side: str, alice: User) -> None:
    token = migrating.set("user_x")
    try:
        assert router.db_for_read(Book) == router.db_for_write(Loan) == "user_x"
        assert router.allow_relation(Book(), Loan())
    finally:
        migrating.reset(token)
