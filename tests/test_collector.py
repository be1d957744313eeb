"""Shared rows can be deleted whatever keys user rows have to them, unless those protect them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import pytest_django
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import Collector
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dsud import use_user
from dsud.collector import are_users
from dsud.connections import alias_of
from dsud.engines import engine
from tests.library.models import Book, Loan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def borrowers(transactional_db: None) -> list[User]:
    """Return two users who have borrowed the same book."""
    book = Book.objects.create(title="Emma")
    users = [User.objects.create_user(name) for name in ("alice", "bob")]
    for user in users:
        with use_user(user):
            Loan.objects.create(book=book, reader=user)
    return users


def assert_deleted(alice_pk: int, bob: User) -> None:
    """Assert that only alice and her database are gone."""
    assert list(User.objects.filter(is_superuser=False)) == [bob]
    assert not engine().exists(str(alice_pk))
    with use_user(bob):
        assert Loan.objects.count() == 1


def test_delete__user_with_cascading_rows(borrowers: list[User]) -> None:
    alice, bob = borrowers
    pk = alice.pk
    with CaptureQueriesContext(connection) as queries:
        alice.delete()
    assert "library_loan" not in str(queries.captured_queries)
    assert_deleted(pk, bob)


def test_delete__queryset_of_users(borrowers: list[User]) -> None:
    alice, bob = borrowers
    User.objects.filter(pk=alice.pk).delete()
    assert_deleted(alice.pk, bob)


def test_delete__action_of_the_admin(borrowers: list[User], client: Client) -> None:
    alice, bob = borrowers
    client.force_login(User.objects.create_superuser("root"))
    page = client.post(reverse("admin:auth_user_delete", args=[alice.pk]), {"post": "yes"})
    assert page.status_code == 302
    assert_deleted(alice.pk, bob)


@pytest.fixture
def bonds(settings: pytest_django.Settings, location: object) -> Iterator[ModuleType]:
    """Install an app with keys that say each thing that on_delete can say."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.bonds"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "bonds"]
    from tests.bonds import models

    shared = (models.Shelf, models.Desk, models.Notice)
    with connection.schema_editor() as editor:
        for model in shared:
            editor.create_model(model)
    yield models
    with connection.schema_editor() as editor:
        for model in reversed(shared):
            editor.delete_model(model)


PASSED_OVER = ("Cascading", "Nulling", "Defaulting", "Setting", "Nothing")


def make_bonds(bonds: ModuleType, owner: User, *, user: User, book: Book | None) -> None:
    with use_user(owner):
        for name in PASSED_OVER:
            getattr(bonds, name).objects.create(user_id=user.pk, book=book)
        many = bonds.Many.objects.create()
        many.users.add(owner)
        if book is not None:
            many.books.add(book)


def assert_bonds(bonds: ModuleType, owner: User, **keys: int) -> None:
    """Assert that all rows still have the keys that they had."""
    with use_user(owner):
        for name in PASSED_OVER:
            assert list(getattr(bonds, name).objects.values(*keys)) == [keys]


def test_delete__shared_row_leaves_the_keys_of_user_rows_as_they_are(
    bonds: ModuleType, alice: User
) -> None:
    book, other = Book.objects.create(title="Emma"), Book.objects.create(title="Ulysses")
    make_bonds(bonds, alice, user=alice, book=book)
    pk = book.pk
    with CaptureQueriesContext(connection) as queries:
        assert book.delete() == (1, {"library.Book": 1})
    assert "bonds_" not in str(queries.captured_queries)
    assert list(Book.objects.all()) == [other]
    assert_bonds(bonds, alice, book_id=pk)
    with use_user(alice):
        with pytest.raises(Book.DoesNotExist):
            _ = bonds.Cascading.objects.get().book
        assert bonds.Many.books.through.objects.get().book_id == pk


def test_delete__queryset_of_shared_rows(bonds: ModuleType, alice: User) -> None:
    make_bonds(bonds, alice, user=alice, book=Book.objects.create(title="Emma"))
    with CaptureQueriesContext(connection) as queries:
        assert Book.objects.all().delete() == (1, {"library.Book": 1})
    assert "bonds_" not in str(queries.captured_queries)


def test_delete__user_takes_no_notice_of_what_keys_say(
    bonds: ModuleType, alice: User, bob: User
) -> None:
    """Also of those that protect, because the user's rows go with the user's database."""
    for owner in (alice, bob):
        make_bonds(bonds, owner, user=alice, book=None)
        with use_user(owner):
            bonds.Protecting.objects.create(user_id=alice.pk)
            bonds.Restricting.objects.create(user_id=alice.pk)
    pk = alice.pk
    with CaptureQueriesContext(connection) as queries:
        User.objects.filter(pk=pk).delete()
    assert "bonds_" not in str(queries.captured_queries).replace("bonds_shelf", "")
    assert not engine().exists(str(pk))
    assert_bonds(bonds, bob, user_id=pk)
    with use_user(bob), pytest.raises(User.DoesNotExist):
        _ = bonds.Protecting.objects.get().user


REFUSED = (
    "Cannot delete some instances of model {target!r}, because rows in user databases may refer to"
    " them through {name!r}, which protects them, and nobody looks into all databases. To delete"
    " them all the same, and have such keys point to nothing, write on_delete=models.DO_NOTHING"
    " there."
)


@pytest.mark.parametrize(
    ("target", "name", "error"),
    [
        ("Shelf", "Protecting.shelf", ProtectedError),
        ("Desk", "Restricting.desk", RestrictedError),
    ],
)
def test_delete__shared_row_that_is_protected_is_refused(
    bonds: ModuleType, target: str, name: str, error: type[Exception]
) -> None:
    model = getattr(bonds, target)
    row = model.objects.create()
    for delete in (row.delete, model.objects.all().delete):
        with pytest.raises(error) as caught:
            delete()
        assert caught.value.args[0] == REFUSED.format(target=target, name=name)
        (stands_for,) = caught.value.args[1]
        assert str(stands_for) == "rows in user databases"
        assert stands_for._meta.label == f"bonds.{name.partition('.')[0]}"
    assert model.objects.count() == 1


def test_delete__user_takes_protected_shared_rows_along(bonds: ModuleType, alice: User) -> None:
    """Otherwise nobody who ever had one could be deleted."""
    bonds.Shelf.objects.create(user=alice)
    alice.delete()
    assert not bonds.Shelf.objects.exists()
    assert not User.objects.exists()


def test_delete__confirmation_in_the_admin_names_what_is_protected(
    bonds: ModuleType,
) -> None:
    admin.site.register(bonds.Shelf)
    try:
        shelf = bonds.Shelf.objects.create()
        request = RequestFactory().get("/")
        request.user = User.objects.create_superuser("root")
        model_admin = admin.site.get_model_admin(bonds.Shelf)
        _, _, _, protected = model_admin.get_deleted_objects([shelf], request)
    finally:
        admin.site.unregister(bonds.Shelf)
    assert protected == ["Protecting: rows in user databases"]


def test_delete__confirmation_in_the_admin_for_users(borrowers: list[User], client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:auth_user_delete", args=[borrowers[0].pk]))
    assert page.status_code == 200
    assert page.context["protected"] == []
    assert "loan" not in page.content.decode().lower()


def test_delete__selected_users_in_the_admin(borrowers: list[User], client: Client) -> None:
    alice, bob = borrowers
    client.force_login(User.objects.create_superuser("root"))
    chosen = {"action": "delete_selected", "_selected_action": [alice.pk]}
    address = reverse("admin:auth_user_changelist")
    with CaptureQueriesContext(connection) as queries:
        asked = client.post(address, chosen)
        done = client.post(address, {**chosen, "post": "yes"})
    assert (asked.status_code, done.status_code) == (200, 302)
    assert "library_loan" not in str(queries.captured_queries)
    assert_deleted(alice.pk, bob)


def test_generic_relation__into_another_database_is_passed_over(
    bonds: ModuleType, alice: User
) -> None:
    shelf = bonds.Shelf.objects.create()
    collector = Collector("default", origin=alice)
    with CaptureQueriesContext(connection) as queries:
        collector.collect([shelf])
    assert "bonds_label" not in str(queries.captured_queries)
    with use_user(alice):
        alias = alias_of(str(alice.pk))
        label = bonds.Label(pk=1)
        with CaptureQueriesContext(connections[alias]) as queries:
            field = bonds.Label._meta.get_field("notices")
            assert list(field.bulk_related_objects([label], alias)) == []
    assert len(queries) == 0


def test_collect__in_a_user_database_finds_what_is_there(bonds: ModuleType, alice: User) -> None:
    """As migrations do that run there on rows of shared models."""
    make_bonds(bonds, alice, user=alice, book=Book.objects.create(title="Emma"))
    with use_user(alice):
        collector = Collector(alias_of(str(alice.pk)))
        collector.collect(list(Book.objects.all()))
        (rows,) = [rows for rows in collector.fast_deletes if rows.model is bonds.Cascading]
        assert list(rows) == list(bonds.Cascading.objects.all())


def test_are_users__historical_ones_are() -> None:
    past = MigrationLoader(None).project_state().apps.get_model("auth", "User")
    assert are_users(past())
    assert are_users([past(), User()])
    assert are_users(past.objects.all())
    assert not are_users([User(), Book()])
    assert not are_users(Book.objects.all())
    assert not are_users([object()])
    assert not are_users(None)


def test_delete__rows_of_a_user_cascade_inside_the_users_database(alice: User) -> None:
    with use_user(alice):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader=alice)
        assert Loan.objects.all().delete() == (1, {"library.Loan": 1})
