"""Copies of shared rows in user databases: made with them, kept current, read only, never the original."""

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import DatabaseError, connections, models, transaction
from django.test import RequestFactory

from dsud import engines, mirrors, provisioning
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.engines.hooks import writing_copies
from dsud.exceptions import UserDatabaseReadOnly, UserDatabaseUnavailable, WrongUser
from dsud.models import UserDatabase
from tests.archive.models import Folder, Opinion
from tests.library.models import Book, Loan

pytestmark = pytest.mark.usefixtures("location")


@pytest.fixture
def ann(transactional_db: None) -> User:
    """Return somebody who has signed up, with a database in its place."""
    return User.objects.create_user("ann", "ann@example.org", "secret", first_name="Ann")


@pytest.fixture
def ben(transactional_db: None) -> User:
    """Return somebody else who has."""
    return User.objects.create_user("ben", password="secret")


def copies(model: type[models.Model], user: User) -> models.QuerySet[models.Model]:
    """Return the copies in a user's database."""
    return model._base_manager.using(alias_of(str(user.pk))).order_by("pk")


def original(user: User) -> User:
    return User.objects.get(pk=user.pk)


# Made


def test_copy__own_row_without_the_password(ann: User, ben: User) -> None:
    (copy,) = copies(User, ann)
    fields = ("pk", "username", "email", "first_name", "date_joined", "is_active")
    assert [getattr(copy, name) for name in fields] == [getattr(ann, name) for name in fields]
    assert copy.password == ""
    assert [copy.username for copy in copies(User, ben)] == ["ben"]


def test_copy__secret_is_nowhere_in_the_file(ann: User) -> None:
    ann.save()
    location = Path(str(engines.engine().path_of(str(ann.pk))))
    hashed = original(ann).password.split("$")[-1].encode()
    for path in location.parent.iterdir():
        assert hashed not in path.read_bytes()


def test_copy__content_types_have_the_ids_of_default(ann: User) -> None:
    rows = ContentType.objects.order_by("pk").values_list("pk", "app_label", "model")
    assert list(copies(ContentType, ann).values_list("pk", "app_label", "model")) == list(rows)
    assert len(rows) > 10


def test_copy__fields_that_the_settings_leave_out(
    settings: pytest_django.Settings, transactional_db: None
) -> None:
    settings.DSUD_UNMIRRORED_FIELDS = ["password", "email", "auth.User.last_name"]
    cat = User.objects.create_user("cat", "cat@example.org", first_name="C", last_name="T")
    copy = copies(User, cat).get()
    assert (copy.email, copy.last_name, copy.first_name) == ("", "", "C")


def test_copy__of_another_model(settings: pytest_django.Settings, transactional_db: None) -> None:
    settings.DSUD_MIRRORED_MODELS = ["auth.User", "library.Book"]
    emma = Book.objects.create(title="Emma")
    dan = User.objects.create_user("dan")
    with use_user(dan):
        Loan.objects.create(book=emma, reader=dan)
        loan = Loan.objects.select_related("book").get(book__title="Emma")
        assert loan.book == emma
        assert Loan.objects.filter(book__title="Persuasion").count() == 0
        tables = connections[alias_of(str(dan.pk))].introspection.table_names()
        assert "django_content_type" not in tables


def test_copy__inside_a_sign_up_that_is_not_committed(transactional_db: None) -> None:
    with transaction.atomic():
        eve = User.objects.create_user("eve")
        with use_user(eve):
            assert Loan.objects.filter(reader__username="eve").count() == 0
            assert [each.username for each in copies(User, eve)] == ["eve"]


@pytest.mark.django_db
def test_copy__inside_a_test_case() -> None:
    fay = User.objects.create_user("fay")
    with use_user(fay):
        assert [each.username for each in copies(User, fay)] == ["fay"]


# What works with them


def test_join__to_the_own_user(ann: User) -> None:
    book = Book.objects.create(title="Emma")
    with use_user(ann):
        Loan.objects.create(book=book, reader=ann)
        assert Loan.objects.filter(reader__username="ann").count() == 1
        assert Loan.objects.filter(reader__username="ben").count() == 0
        loan = Loan.objects.select_related("reader").order_by("reader__email").get()
        with connections["default"].execute_wrapper(refuse):
            assert loan.reader.first_name == "Ann"
        assert list(Loan.objects.values_list("reader__username", flat=True)) == ["ann"]


def refuse(*call: object) -> object:
    raise AssertionError(f"default was asked: {call[1]}")


def test_key__is_read_from_default(ann: User) -> None:
    with use_user(ann):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader=ann)
        reader = Loan.objects.get().reader
        assert reader._state.db == "default"
        assert reader.check_password("secret")


def test_key__to_another_user_is_refused_before_the_sql(ann: User, ben: User) -> None:
    book = Book.objects.create(title="Emma")
    with use_user(ann):
        loan = Loan.objects.create(book=book, reader=ann)
        for write in (
            lambda: Loan.objects.create(book=book, reader_id=ben.pk),
            lambda: Loan.objects.bulk_create([Loan(book=book, reader_id=ben.pk)]),
            lambda: Loan.objects.update(reader_id=ben.pk),
            lambda: Loan.objects.filter(pk=loan.pk).update(reader=ben.pk),
        ):
            with pytest.raises(WrongUser) as caught:
                write()
            assert str(caught.value) == (
                f"A library.Loan whose reader is the key of user '{ben.pk}' was used while user"
                f" '{ann.pk}' is active. Load it again inside the block of user '{ann.pk}', or use it"
                f" inside `with use_user('{ben.pk}'):`."
            )
        assert Loan.objects.get().reader == ann


def test_key__is_constrained_to_the_copy(ann: User, ben: User) -> None:
    sql = "INSERT INTO library_loan (book_id, reader_id) VALUES (1, %s)"
    with (
        use_user(ann),
        pytest.raises(DatabaseError, match="FOREIGN KEY constraint failed"),
        connections[alias_of(str(ann.pk))].cursor() as cursor,
    ):
        cursor.execute(sql, [ben.pk])


# Read only


def write_copy(user: User) -> dict[str, object]:
    """Return what writes a copy, by its name."""
    rows = User.objects.using(alias_of(str(user.pk)))
    copy = rows.get()
    return {
        "save": copy.save,
        "save into default": lambda: copy.save(using="default"),
        "save some": lambda: copy.save(update_fields=["email"]),
        "delete": copy.delete,
        "update": lambda: rows.update(email=""),
        "delete all": lambda: rows.all()._raw_delete(alias_of(str(user.pk))),
        "create": lambda: rows.create(username="x"),
        "bulk_create": lambda: rows.bulk_create([User(username="x")]),
        "bulk_update": lambda: rows.bulk_update([copy], ["email"]),
        "set_password": lambda: (copy.set_password("x"), copy.save()),
    }


@pytest.mark.parametrize("name", list(range(10)))
def test_write__of_a_copy_is_refused(ann: User, name: int) -> None:
    before = User.objects.filter(pk=ann.pk).values().get()
    with use_user(ann):
        writes = list(write_copy(ann).values())
        assert len(writes) == 10
        with pytest.raises(UserDatabaseReadOnly):
            writes[name]()
        assert [copy.username for copy in copies(User, ann)] == ["ann"]
    assert User.objects.filter(pk=ann.pk).values().get() == before


def test_write__says_what_to_do(ann: User) -> None:
    copy = copies(User, ann).get()
    with pytest.raises(UserDatabaseReadOnly) as caught:
        copy.save()
    assert caught.value.user_key == str(ann.pk)
    assert str(caught.value) == (
        f"A auth.User that was read from the database of user '{ann.pk}' is a copy and cannot be"
        f" written. Read the original: auth.User.objects.get(pk={ann.pk})."
    )
    with pytest.raises(UserDatabaseReadOnly) as caught:
        copies(User, ann).update(email="")
    assert str(caught.value) == (
        f"The database of user '{ann.pk}' holds a copy of auth.User, which cannot be written."
        " Write the original, without using(): auth.User.objects."
    )


def test_write__by_sql_is_denied_by_sqlite(ann: User) -> None:
    alias = alias_of(str(ann.pk))
    for sql in (
        "UPDATE auth_user SET email = ''",
        "DELETE FROM auth_user",
        "INSERT INTO django_content_type (app_label, model) VALUES ('x', 'y')",
    ):
        with (
            connections[alias].cursor() as cursor,
            pytest.raises(DatabaseError, match="not authorized"),
        ):
            cursor.execute(sql)
    with connections[alias].cursor() as cursor, writing_copies():
        cursor.execute("UPDATE auth_user SET email = email")


def test_copy__that_is_refreshed_is_the_original(ann: User) -> None:
    copy = copies(User, ann).get()
    copy.refresh_from_db()
    assert copy._state.db == "default"
    assert copy.check_password("secret")
    copy.email = "new@example.org"
    copy.save()
    assert original(ann).email == "new@example.org"


def test_copy__logs_nobody_in(ann: User) -> None:
    from django.contrib.auth import login

    copy = copies(User, ann).get()
    assert not copy.check_password("secret")
    request = RequestFactory().get("/")
    call_session(request)
    with pytest.raises(UserDatabaseReadOnly):
        login(request, copy, backend="django.contrib.auth.backends.ModelBackend")
    assert authenticate(username="ann", password="secret") == ann


def call_session(request: object) -> None:
    from django.contrib.sessions.backends.db import SessionStore

    request.session = SessionStore()


def test_original__is_what_everybody_reads(ann: User) -> None:
    with use_user(ann):
        assert User.objects.get(pk=ann.pk)._state.db == "default"
        assert User.objects.count() == 1
        assert ann.groups.count() == 0
        ann.groups.add(Group.objects.create(name="readers"))
    assert ann.groups.get().name == "readers"


# Kept current


def test_save__renews_the_copy(ann: User, ben: User) -> None:
    ann.email = "changed@example.org"
    ann.save()
    assert copies(User, ann).get().email == "changed@example.org"
    with use_user(ben):
        ann.first_name = "Anna"
        ann.save(update_fields=["first_name"])
    assert copies(User, ann).get().first_name == "Anna"


def test_save__keeps_what_cascades_from_the_copy(ann: User) -> None:
    with use_user(ann):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader=ann)
    ann.email = "changed@example.org"
    ann.save()
    with use_user(ann):
        assert Loan.objects.count() == 1


def test_save__is_rolled_back_with_the_original(ann: User) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ann.email = "never@example.org"
        ann.save()
        assert copies(User, ann).get().email == "never@example.org"
        raise ZeroDivisionError
    assert copies(User, ann).get().email == original(ann).email == "ann@example.org"


def test_save__of_what_is_not_mirrored_opens_nothing(ann: User) -> None:
    with mock.patch.object(mirrors, "renew") as renew:
        ann.set_password("new")
        ann.save(update_fields=["password"])
        assert not renew.called
        ann.save(update_fields=["email"])
        assert renew.called


def test_save__of_a_user_whose_database_is_broken(ann: User) -> None:
    error = UserDatabaseUnavailable(str(ann.pk), "It is broken.")
    ann.is_active = False
    with mock.patch.object(mirrors, "renew", side_effect=error):
        ann.save()
    assert not original(ann).is_active
    row = UserDatabase.objects.get(user_key=str(ann.pk))
    assert row.last_error == "UserDatabaseUnavailable: It is broken."


def test_save__of_a_user_whose_tables_are_a_migration_behind(ann: User) -> None:
    alias = alias_of(str(ann.pk))
    with connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user RENAME COLUMN last_name TO family")
    ann.email = "late@example.org"
    ann.save()
    assert original(ann).email == "late@example.org"
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT email, family FROM auth_user")
        assert cursor.fetchone() == ("ann@example.org", "")


def test_save__of_a_user_without_a_database(transactional_db: None, settings: object) -> None:
    settings.DSUD_PROVISION = []
    gus = User.objects.create_user("gus")
    gus.save()
    assert not engines.engine().exists(str(gus.pk))


def test_update__of_a_queryset_waits_for_the_next_renewal(ann: User) -> None:
    User.objects.filter(pk=ann.pk).update(email="silent@example.org")
    assert copies(User, ann).get().email == "ann@example.org"
    mirrors.renew(str(ann.pk))
    assert copies(User, ann).get().email == "silent@example.org"


def test_migrate__renews_the_copies(ann: User) -> None:
    User.objects.filter(pk=ann.pk).update(email="silent@example.org")
    ContentType.objects.bulk_create([ContentType(app_label="late", model="comer")])
    call_command("migrate_user_dbs", "--all", verbosity=0)
    assert copies(User, ann).get().email == "silent@example.org"
    late = ContentType.objects.get(app_label="late")
    assert copies(ContentType, ann).get(app_label="late").pk == late.pk


def test_content_type__that_is_new_is_in_every_database(ann: User, ben: User) -> None:
    late = ContentType.objects.create(app_label="late", model="comer")
    for user in (ann, ben):
        assert copies(ContentType, user).get(app_label="late").pk == late.pk
    late.model = "goer"
    late.save()
    assert copies(ContentType, ann).get(app_label="late").model == "goer"
    late.delete()
    assert not copies(ContentType, ben).filter(app_label="late").exists()
    hal = User.objects.create_user("hal")
    assert copies(ContentType, hal).count() == ContentType.objects.count()


def test_shared_row__that_is_deleted_does_to_users_rows_what_their_keys_say(
    settings: pytest_django.Settings, transactional_db: None
) -> None:
    settings.DSUD_MIRRORED_MODELS = ["auth.User", "library.Book"]
    emma, other = (Book.objects.create(title=title) for title in ("Emma", "other"))
    ida, joe = (User.objects.create_user(name) for name in ("ida", "joe"))
    field = Opinion._meta.get_field("book").remote_field
    with mock.patch.object(field, "on_delete", models.CASCADE):
        for user in (ida, joe):
            with use_user(user):
                Opinion.objects.create(book=emma, text="good")
                Opinion.objects.create(book=other, text="bad")
        emma.delete()
    for user in (ida, joe):
        with use_user(user):
            assert list(Opinion.objects.values_list("text", flat=True)) == ["bad"]


def test_renewal__of_many_rows_happens_once(ann: User) -> None:
    with mock.patch.object(mirrors, "renew", wraps=mirrors.renew) as renew, transaction.atomic():
        for number in range(5):
            ContentType.objects.create(app_label="late", model=f"model{number}")
        assert not renew.called
    assert renew.call_count == 1


# Databases that were made before


def test_migrate__adds_copies_to_a_database_that_has_none(
    settings: pytest_django.Settings, transactional_db: None
) -> None:
    settings.DSUD_MIRRORED_MODELS = []
    kim = User.objects.create_user("kim")
    alias = alias_of(str(kim.pk))
    with use_user(kim):
        Folder.objects.create(name="kept")
        assert "auth_user" not in connections[alias].introspection.table_names()
    settings.DSUD_MIRRORED_MODELS = ["auth.User", "contenttypes.ContentType"]
    call_command("migrate_user_dbs", verbosity=0)
    assert copies(User, kim).get().username == "kim"
    assert copies(ContentType, kim).count() == ContentType.objects.count()
    with use_user(kim):
        assert Folder.objects.get().name == "kept"
        assert Loan.objects.filter(reader__username="kim").count() == 0


def test_template__holds_no_rows_of_anybody(ann: User) -> None:
    template = engines.engine()._templates.read(provisioning.prepare())
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(template)
        for table in ("auth_user", "django_content_type"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
