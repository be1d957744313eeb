"""``atomic()`` without an alias covers ``default`` and the active user's database."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from unittest import mock

import pytest
import pytest_django
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.handlers.base import BaseHandler
from django.db import DatabaseError, connection, connections, transaction
from django.db.transaction import Atomic, atomic
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from dsud import current_user_id, use_user
from dsud.exceptions import WrongUser
from dsud.pool import pool
from tests.library.models import Book
from tests.notes.models import Note, Tag

pytestmark = pytest.mark.django_db(transaction=True)


class Boom(Exception):
    """What a test raises inside a block."""


@pytest.fixture
def users(transactional_db: None) -> tuple[User, User]:
    """Return two users with a database each."""
    create = get_user_model().objects.create_user
    return create("alice"), create("bob")


def both() -> tuple[list[str], list[str]]:
    """Return what is in ``default`` and in the active user's database."""
    books = Book.objects.order_by("pk").values_list("title", flat=True)
    return list(books), list(Note.objects.order_by("pk").values_list("text", flat=True))


def write(text: str) -> None:
    """Write a row on both sides."""
    Book.objects.create(title=text)
    Note.objects.create(text=text)


@atomic
def write_and_fail(text: str) -> None:
    """Fail in a function that a bare decorator makes atomic."""
    write(text)
    raise Boom


def test_atomic__failing_block_leaves_nothing_on_either_side(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with pytest.raises(Boom), transaction.atomic():
            write("lost")
            raise Boom
        assert both() == ([], [])
        with transaction.atomic():
            write("kept")
        assert both() == (["kept"], ["kept"])


def test_atomic__bare_decorator_imported_early(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with pytest.raises(Boom):
            write_and_fail("lost")
        assert both() == ([], [])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_atomic__rolls_back_at_the_depth_that_fails(users: tuple[User, User], depth: int) -> None:
    def nest(level: int) -> None:
        if level > 4:
            return
        try:
            with transaction.atomic():
                write(str(level))
                nest(level + 1)
                if level == depth:
                    raise Boom
        except Boom:
            pass

    with use_user(users[0]):
        nest(1)
        kept = [str(level) for level in range(1, depth)]
        assert both() == (kept, kept)


def test_atomic__database_that_is_first_used_in_an_inner_block(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with transaction.atomic():
            Book.objects.create(title="outer")
            with pytest.raises(Boom), transaction.atomic():
                write("inner")
                raise Boom
            Note.objects.create(text="after")
        assert both() == (["outer"], ["after"])
        with pytest.raises(Boom), transaction.atomic():
            with transaction.atomic():
                write("inner")
            raise Boom
        assert both() == (["outer"], ["after"])


def test_atomic__user_who_becomes_active_inside_the_block_joins(users: tuple[User, User]) -> None:
    alice, bob = users
    with pytest.raises(Boom), transaction.atomic():
        with use_user(alice):
            write("alice")
        with use_user(bob):
            write("bob")
        raise Boom
    for user in users:
        with use_user(user):
            assert both() == ([], [])
    with transaction.atomic():
        for user in users:
            with use_user(user):
                Note.objects.create(text="kept")
    for user in users:
        with use_user(user):
            assert both() == ([], ["kept"])
    assert pool.leased == 0


def test_atomic__savepoints_of_a_user_who_is_not_active_any_more(users: tuple[User, User]) -> None:
    alice, bob = users
    with use_user(bob), transaction.atomic():
        try:
            with transaction.atomic():
                with use_user(alice):
                    Note.objects.create(text="lost")
                raise Boom
        except Boom:
            pass
        with use_user(alice):
            Note.objects.create(text="kept")
    with use_user(alice):
        assert both() == ([], ["kept"])


def test_atomic__without_savepoint_marks_both_sides(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with transaction.atomic():
            write("outer")
            with pytest.raises(Boom), transaction.atomic(savepoint=False):
                write("inner")
                raise Boom
        assert both() == ([], [])


def test_atomic__set_rollback_reaches_both_sides(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with transaction.atomic():
            write("lost")
            transaction.set_rollback(True)
        assert both() == ([], [])
        with transaction.atomic():
            write("lost")
            transaction.set_rollback(True, using=f"user_{users[0].pk}")
        assert both() == ([], [])


def test_atomic__failing_commit_of_the_user_rolls_default_back(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        wrapper = connections[f"user_{users[0].pk}"]
        with (
            mock.patch.object(wrapper, "_commit", side_effect=DatabaseError("disk full")),
            pytest.raises(DatabaseError, match="disk full"),
            transaction.atomic(),
        ):
            write("lost")
        assert both() == ([], [])
        with transaction.atomic():
            write("kept")
        assert both() == (["kept"], ["kept"])


def test_atomic__explicit_alias_stays_explicit(users: tuple[User, User]) -> None:
    alias = f"user_{users[0].pk}"
    with use_user(users[0]):
        with pytest.raises(Boom), transaction.atomic(using="default"):
            write("default only")
            raise Boom
        assert both() == ([], ["default only"])
        with pytest.raises(Boom), transaction.atomic(using=alias):
            write("user only")
            raise Boom
        assert both() == (["user only"], ["default only"])


def test_atomic__explicit_alias_inside_a_block_without_one(users: tuple[User, User]) -> None:
    alias = f"user_{users[0].pk}"
    with use_user(users[0]):
        with pytest.raises(Boom), transaction.atomic():
            with transaction.atomic(using=alias):
                Note.objects.create(text="lost")
            raise Boom
        with transaction.atomic(using=alias), transaction.atomic():
            write("kept")
        assert both() == (["kept"], ["kept"])


def test_atomic__inside_an_explicit_block_covers_both_sides(users: tuple[User, User]) -> None:
    with use_user(users[0]), transaction.atomic(using=f"user_{users[0].pk}"):
        with pytest.raises(Boom), transaction.atomic():
            write("lost")
            raise Boom
        write("kept")
        assert both() == (["kept"], ["kept"])


def test_atomic__untouched_user_database_costs_nothing(users: tuple[User, User]) -> None:
    with use_user(users[0]), transaction.atomic():
        Book.objects.create(title="x")
        assert connections[f"user_{users[0].pk}"].connection is None


def test_atomic__durable_block_covers_both_sides(users: tuple[User, User]) -> None:
    with use_user(users[0]):
        with pytest.raises(Boom), transaction.atomic(durable=True):
            write("lost")
            raise Boom
        assert both() == ([], [])
        with pytest.raises(RuntimeError), transaction.atomic(), transaction.atomic(durable=True):
            pass


def test_atomic__integrity_error_inside_a_savepoint(users: tuple[User, User]) -> None:
    with use_user(users[0]), transaction.atomic():
        Tag.objects.create(name="once")
        with pytest.raises(DatabaseError), transaction.atomic():
            Tag.objects.create(name="once")
        Tag.objects.create(name="twice")
    with use_user(users[0]):
        assert Tag.objects.count() == 2


def test_atomic__nobody_active_is_djangos_own(users: tuple[User, User]) -> None:
    with pytest.raises(Boom), transaction.atomic():
        Book.objects.create(title="lost")
        raise Boom
    assert Book.objects.count() == 0


def test_atomic__select_for_update_and_reads_join(users: tuple[User, User]) -> None:
    with use_user(users[0]), transaction.atomic():
        assert list(Note.objects.select_for_update()) == []
        assert connections[f"user_{users[0].pk}"].in_atomic_block


# on_commit


def test_on_commit__runs_as_the_user_who_registered_it_after_both_are_durable(
    users: tuple[User, User],
) -> None:
    alice, bob = users
    seen: list[object] = []

    def look() -> None:
        other = sqlite3.connect(connections["default"].settings_dict["NAME"])
        seen.append(
            (
                current_user_id(),
                both()[1],
                other.execute("SELECT count(*) FROM library_book").fetchone(),
            )
        )
        other.close()

    with use_user(bob), transaction.atomic():
        with use_user(alice):
            write("x")
            transaction.on_commit(look)
        assert seen == []
    assert seen == [(alice.pk, ["x"], (1,))]


def test_on_commit__is_dropped_with_the_block(users: tuple[User, User]) -> None:
    seen: list[object] = []
    with use_user(users[0]), pytest.raises(Boom), transaction.atomic():
        transaction.on_commit(lambda: seen.append(1))
        raise Boom
    assert seen == []


# Requests


def failing_view(request: HttpRequest) -> HttpResponse:
    """Write on both sides and fail."""
    write("lost")
    raise Boom


@transaction.non_atomic_requests
def non_atomic_view(request: HttpRequest) -> HttpResponse:
    """Write on both sides and fail, outside any block."""
    write("kept")
    raise Boom


@pytest.mark.parametrize(
    ("view", "left"), [(failing_view, ([], [])), (non_atomic_view, (["kept"], ["kept"]))]
)
def test_atomic_requests__cover_the_users_database(
    users: tuple[User, User], view: object, left: object
) -> None:
    with (
        mock.patch.dict(connections.settings["default"], {"ATOMIC_REQUESTS": True}),
        use_user(users[0]),
    ):
        wrapped = BaseHandler().make_view_atomic(view)
        with pytest.raises(Boom):
            wrapped(RequestFactory().get("/"))
    with use_user(users[0]):
        assert both() == left


def test_atomic_requests__no_transaction_in_other_databases(users: tuple[User, User]) -> None:
    assert connections.settings[f"user_{users[0].pk}"]["ATOMIC_REQUESTS"] is False


# First use inside a block


@pytest.fixture
def without_database(transactional_db: None, settings: pytest_django.Settings) -> User:
    """Return a user whose database is made at first use."""
    settings.DSUD_PROVISION = ["first_use"]
    return get_user_model().objects.create_user("carol")


def test_first_use__inside_a_block_that_fails_leaves_no_silent_hole(
    without_database: User,
) -> None:
    with use_user(without_database):
        with pytest.raises(Boom), transaction.atomic():
            write("lost")
            raise Boom
        Note.objects.create(text="kept")
        assert both() == ([], ["kept"])
    with use_user(without_database):
        assert both() == ([], ["kept"])


def test_first_use__inside_an_inner_block_that_fails(without_database: User) -> None:
    with use_user(without_database), transaction.atomic():
        with pytest.raises(Boom), transaction.atomic():
            write("lost")
            raise Boom
        write("kept")
    with use_user(without_database):
        assert both() == (["kept"], ["kept"])


def test_first_use__inside_a_block_that_succeeds(without_database: User) -> None:
    with use_user(without_database):
        with transaction.atomic():
            write("kept")
        assert both() == (["kept"], ["kept"])
    with use_user(without_database):
        assert both() == (["kept"], ["kept"])


def test_install__is_idempotent() -> None:
    from dsud import transactions

    before = Atomic.__enter__, connection.on_commit.__func__
    transactions.install()
    assert (Atomic.__enter__, connection.on_commit.__func__) == before


def test_atomic__error_before_the_first_cursor_of_an_inner_block(users: tuple[User, User]) -> None:
    alice, bob = users
    with use_user(alice):
        notes = Note.objects.all()
    with use_user(bob), transaction.atomic():
        write("kept")
        with pytest.raises(WrongUser), transaction.atomic():
            Book.objects.create(title="lost")
            notes.update(text="alice's rows, judged before any cursor is made")
        with transaction.atomic():
            Book.objects.create(title="lost, too")
            with suppress(WrongUser):
                notes.update(text="x")
        write("kept, too")
    with use_user(bob):
        assert both() == (["kept", "kept, too"], ["kept", "kept, too"])


def test_explicit_alias__whose_own_block_fails_is_never_committed_by_half(alice: User) -> None:
    alias = f"user_{alice.pk}"
    with transaction.atomic():
        with use_user(alice):
            Note.objects.create(text="before")
        with suppress(Boom), transaction.atomic(), transaction.atomic(using=alias, savepoint=False):
            Note.objects.using(alias).create(text="half")
            raise Boom
    with use_user(alice):
        assert not Note.objects.filter(text="half").exists()
