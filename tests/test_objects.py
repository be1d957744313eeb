"""What another user's object, or one that all users share, is asked is never answered from the wrong rows."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, F, Model, Prefetch, Value, When, prefetch_related_objects

from dsud import use_user
from dsud.context import Activation, Block
from dsud.exceptions import NoActiveUser, WrongUser
from tests.archive.models import Draft, Folder, Opinion, Sheet
from tests.library.models import Book, Loan

MODELS: tuple[type[Model], ...] = (Folder, Sheet, Draft)


class Archive:
    """Two users with the same primary keys: a folder, two sheets and a draft each."""

    def __init__(self, alice: User, bob: User) -> None:
        self.alice, self.bob = alice, bob
        self.folder_a, self.sheet_a = self._fill(alice, "alice's")
        self.folder_b, self.sheet_b = self._fill(bob, "bob's")
        assert (self.folder_a.pk, self.sheet_a.pk) == (self.folder_b.pk, self.sheet_b.pk)
        self.before = self.rows()

    @staticmethod
    def _fill(user: User, whose: str) -> tuple[Folder, Sheet]:
        with use_user(user):
            folder = Folder.objects.create(name=whose)
            sheet, _ = (Sheet.objects.create(folder=folder, text=whose) for _ in range(2))
            Draft.objects.create(folder=folder, text=whose)
            return folder, sheet

    def rows(self) -> list[object]:
        """Return all that both users have."""
        found: list[object] = []
        for user in (self.alice, self.bob):
            with use_user(user):
                found += [list(model._base_manager.order_by("pk").values()) for model in MODELS]
        return found

    def of_alice(self, get: Callable[[], Model]) -> Model:
        """Return what alice gets."""
        with use_user(self.alice):
            return get()


@pytest.fixture
def archive(alice: User, bob: User) -> Archive:
    """Return both users' rows."""
    return Archive(alice, bob)


def awaited(method: Callable[..., object], *args: object, **kwargs: object) -> object:
    async def call() -> object:
        return await method(*args, **kwargs)  # type: ignore[misc]

    return async_to_sync(call)()


ASKED: dict[str, Callable[[Archive], object]] = {
    "forward key": lambda d: d.of_alice(Sheet.objects.first).folder,
    "reverse": lambda d: list(d.folder_a.sheet_set.all()),
    "reverse add": lambda d: d.folder_b.sheet_set.add(d.sheet_a, bulk=False),
    "reverse child": lambda d: d.of_alice(Sheet.objects.last).draft,
    "assigned": lambda d: setattr(d.sheet_b, "folder", d.folder_a),
    "assigned before": lambda d: d.of_alice(lambda: Sheet(folder=d.folder_a)).save(),
    "defaults": lambda d: Sheet.objects.update_or_create(pk=1, defaults={"folder": d.folder_a}),
    "refresh from a queryset": lambda d: d.sheet_a.refresh_from_db(
        from_queryset=Sheet.objects.all()
    ),
    "arefresh from a queryset": lambda d: awaited(
        d.sheet_a.arefresh_from_db, from_queryset=Sheet.objects.all()
    ),
    "contains": lambda d: Sheet.objects.contains(d.sheet_a),
    "acontains": lambda d: awaited(Sheet.objects.acontains, d.sheet_a),
    "related contains": lambda d: d.folder_b.sheet_set.contains(d.sheet_a),
    "next in order": lambda d: d.sheet_a.get_next_in_order(),
    "previous in order": lambda d: d.sheet_a.get_previous_in_order(),
    "order": lambda d: list(d.folder_a.get_sheet_order()),
    "set order": lambda d: d.folder_a.set_sheet_order([2, 1, 3]),
    "validate_unique": lambda d: d.folder_a.validate_unique(),
    "update of a child": lambda d: Draft.objects.update(folder=d.folder_a),
    "update of a child by a case": lambda d: Draft.objects.update(
        text=Case(When(folder=d.folder_a, then=Value("changed")), default=F("text"))
    ),
    "order_by": lambda d: list(
        Sheet.objects.order_by(Case(When(folder=d.folder_a, then=1), default=0))
    ),
    "annotate": lambda d: list(
        Sheet.objects.annotate(x=Case(When(folder=d.folder_a, then=1), default=0))
    ),
    "in_bulk": lambda d: d.folder_a.sheet_set.in_bulk(),
    "abulk_create": lambda d: awaited(Folder.objects.abulk_create, [d.folder_a]),
    "abulk_update": lambda d: awaited(Folder.objects.abulk_update, [d.folder_a], ["name"]),
    "upsert": lambda d: Folder.objects.bulk_create(
        [d.folder_a], update_conflicts=True, unique_fields=["id"], update_fields=["name"]
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_object__of_alice_is_asked_while_bob_is_active(archive: Archive, name: str) -> None:
    with use_user(archive.bob), pytest.raises(WrongUser), transaction.atomic():
        ASKED[name](archive)
    assert archive.rows() == archive.before


def test_object__own_one_is_free(archive: Archive) -> None:
    with use_user(archive.bob):
        archive.sheet_b.refresh_from_db(from_queryset=Sheet.objects.all())
        assert Sheet.objects.contains(archive.sheet_b)
        assert archive.sheet_b.get_next_in_order().pk == 2
        archive.folder_b.set_sheet_order([2, 1, 3])
        assert list(archive.folder_b.get_sheet_order()) == [2, 1, 3]
        assert Draft.objects.update(folder=archive.folder_b) == 1
        ordered = Sheet.objects.order_by(Case(When(folder=archive.folder_b, then=1), default=0))
        assert ordered.count() == len(ordered) == 3
        archive.folder_b.validate_unique()


def test_object__explicit_alias_stays_explicit(archive: Archive) -> None:
    with use_user(archive.bob):
        archive.sheet_a.refresh_from_db(using=Sheet.objects.db)
    assert archive.sheet_a.text == "bob's"


def test_query__may_be_filtered_again_for_another_after_it_was_compiled(archive: Archive) -> None:
    shared = Sheet.objects.all()
    for user, folder in [(archive.bob, archive.folder_b), (archive.alice, archive.folder_a)]:
        with use_user(user):
            str(shared.query)
            shared.exists()
            assert shared.filter(folder=folder).count() == 3
            assert pickle.loads(pickle.dumps(shared.query)).clone() is not None


# Shared objects, as a process keeps them


@pytest.fixture
def book(db: None) -> Book:
    """Return one object for all users."""
    return Book.objects.create(title="Emma")


def opinion_on(book: Book) -> str:
    """Follow the book to the opinion of whoever is active."""
    try:
        return str(book.opinion.text)
    except Opinion.DoesNotExist:
        return "none"


def test_shared_object__that_was_assigned_leads_to_the_active_users_row(
    book: Book, alice: User, bob: User
) -> None:
    with use_user(alice):
        Opinion.objects.create(book=book, text="alice's")
    with use_user(bob):
        assert opinion_on(book) == "none"
        Opinion.objects.create(book_id=book.pk, text="bob's")
        assert opinion_on(book) == "bob's"
        assert book.opinion is book.opinion
        assert book.opinion.book is book
    with use_user(alice):
        assert opinion_on(book) == "alice's"
    with Block(Activation()), pytest.raises(NoActiveUser):
        opinion_on(book)


def test_shared_object__that_was_followed_to_no_row_is_followed_again(
    book: Book, alice: User, bob: User
) -> None:
    with use_user(bob):
        Opinion.objects.create(book_id=book.pk, text="bob's")
    with use_user(alice):
        assert opinion_on(book) == "none"
    with use_user(bob):
        assert opinion_on(book) == "bob's"


def test_shared_object__that_was_prefetched(book: Book, alice: User, bob: User) -> None:
    for user in (alice, bob):
        with use_user(user):
            Opinion.objects.create(book_id=book.pk, text=user.username)
    with use_user(alice):
        prefetch_related_objects([book], "opinion", Prefetch("loan_set", Loan.objects.all()))
        assert opinion_on(book) == "alice"
        assert list(book.loan_set.all()) == []
    with use_user(bob):
        assert opinion_on(book) == "bob"
        with pytest.raises(WrongUser):
            list(book.loan_set.all())


@pytest.mark.django_db(transaction=True)
def test_shared_object__in_two_threads_at_once(book: Book, alice: User, bob: User) -> None:
    for user in (alice, bob):
        with use_user(user):
            Opinion.objects.create(book_id=book.pk, text=user.username)
    wrong: list[str] = []

    def follow(user: User) -> None:
        with use_user(user):
            wrong.extend({opinion_on(book) for _ in range(200)} - {user.username})

    threads = [threading.Thread(target=follow, args=[user]) for user in (alice, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_shared_object__is_not_asked_twice_by_the_same_user(book: Book, alice: User) -> None:
    with use_user(alice):
        Opinion.objects.create(book_id=book.pk, text="alice's")
        kept = book.opinion
        Opinion.objects.all().delete()
        assert book.opinion is kept


def test_shared_object__gives_an_operator_what_it_keeps(book: Book, alice: User) -> None:
    with use_user(alice):
        Opinion.objects.create(book=book, text="alice's")
    assert opinion_on(book) == "alice's"


# Answers without rows


def test_rows__that_there_are_none_is_not_kept_for_the_next_user(alice: User, bob: User) -> None:
    queryset = Sheet.objects.all()
    with use_user(alice):
        assert list(queryset) == []
    with use_user(bob), pytest.raises(WrongUser):
        list(queryset)
    nothing = Sheet.objects.none()
    with use_user(alice):
        assert list(nothing) == []
    with use_user(bob):
        assert list(nothing) == []


# Keys that name other users


def test_key_that_may_be_empty__names_another_user(book: Book, alice: User, bob: User) -> None:
    with use_user(alice):
        opinion = Opinion.objects.create(book=book, text="checked", checked_by=bob)
        assert opinion._state.db == f"user_{alice.pk}"
        assert Opinion.objects.get(checked_by=bob).checked_by == bob
        opinion.checked_by = alice
        opinion.save()
        Opinion.objects.update(checked_by=bob)
        assert Opinion.objects.get().checked_by == bob


def test_key_that_may_be_empty__is_read_later_where_a_join_found_no_copy(
    book: Book, alice: User, bob: User, django_assert_num_queries
) -> None:
    with use_user(alice):
        Opinion.objects.create(book_id=book.pk, text="checked", checked_by=bob)
        joined = Opinion.objects.select_related("checked_by").get()
        with django_assert_num_queries(1):
            assert joined.checked_by == bob
        Opinion.objects.update(checked_by=alice)
        joined = Opinion.objects.select_related("checked_by").get()
        with django_assert_num_queries(0):
            assert joined.checked_by == alice
        Opinion.objects.update(checked_by=None)
        assert Opinion.objects.select_related("checked_by").get().checked_by is None


def test_key_that_says_whose_a_row_is__names_nobody_else(
    book: Book, alice: User, bob: User
) -> None:
    with use_user(alice):
        with pytest.raises(WrongUser):
            Loan(reader=bob)
        with pytest.raises(WrongUser), transaction.atomic():
            Loan(book=book, reader_id=bob.pk).save()
        assert Loan.objects.count() == 0
