"""A user whose rows have cascading keys to the user can be deleted."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dsud import use_user
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
