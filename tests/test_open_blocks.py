"""What is said about blocks without an alias is about the one that is meant."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction

from dsud import current_user_id, use_user
from tests.notes.models import Note
from tests.test_transactions import Boom, both, write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def users(transactional_db: None) -> tuple[User, User]:
    """Return two users with a database each."""
    create = get_user_model().objects.create_user
    return create("alice"), create("bob")


def test_on_commit__waits_for_the_only_block_that_is_open(users: tuple[User, User]) -> None:
    called: list[object] = []
    alias = f"user_{users[0].pk}"
    with use_user(users[0]):
        with transaction.atomic(using=alias):
            Note.objects.create(text="kept")
            transaction.on_commit(lambda: called.append(current_user_id()))
            assert called == []
        assert called == [users[0].pk]
        with pytest.raises(Boom), transaction.atomic(using=alias):
            transaction.on_commit(lambda: called.append("of a block that failed"))
            raise Boom
        with transaction.atomic(using=alias), transaction.atomic(using="default"):
            transaction.on_commit(lambda: called.append("with default"))
            assert called == [users[0].pk]
        assert called == [users[0].pk, "with default"]


def test_set_rollback__means_the_only_block_that_is_open(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with transaction.atomic(using=f"user_{users[0].pk}"):
            Note.objects.create(text="lost")
            transaction.set_rollback(True)
            assert transaction.get_rollback()
        assert both() == ([], [])


def test_set_rollback__means_the_innermost_block(users: tuple[User, User]) -> None:
    alias = f"user_{users[0].pk}"
    with use_user(users[0]), transaction.atomic():
        write("kept")
        with transaction.atomic(using=alias):
            Note.objects.create(text="lost")
            transaction.set_rollback(True)
            assert transaction.get_rollback()
        assert not transaction.get_rollback()
        with transaction.atomic(using=alias):
            with transaction.atomic():
                write("lost, too")
                transaction.set_rollback(True)
            assert not transaction.get_rollback()
            Note.objects.create(text="also kept")
        assert both() == (["kept"], ["kept", "also kept"])


def test_set_rollback__does_not_mean_the_block_of_somebody_else(users: tuple[User, User]) -> None:
    alice, bob = users
    with use_user(alice), transaction.atomic(using=f"user_{alice.pk}"):
        Note.objects.create(text="kept")
        with use_user(bob), pytest.raises(transaction.TransactionManagementError):
            transaction.set_rollback(True)
    with use_user(alice):
        assert both() == ([], ["kept"])
