"""The rows that a queryset keeps are read only by the user whose they are, however they came there."""

import copy
import pickle
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet, prefetch_related_objects

from dsud import use_user
from dsud.exceptions import WrongUser
from dsud.results import KEPT
from tests.notes.models import Note, Tag

READS: dict[str, Callable[[QuerySet[Note]], object]] = {
    "iteration": list,
    "len": len,
    "bool": bool,
    "index": lambda queryset: queryset[0],
    "slice": lambda queryset: queryset[:1],
    "count": lambda queryset: queryset.count(),
    "exists": lambda queryset: queryset.exists(),
    "pickle": pickle.dumps,
    "copy": lambda queryset: list(copy.copy(queryset)),
}


@pytest.fixture(autouse=True)
def notes(alice: User, bob: User) -> None:
    for user in (alice, bob):
        with use_user(user):
            note = Note.objects.create(text=f"of {user.username}")
            note.tags.add(Tag.objects.create(name=f"of {user.username}"))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows__kept_by_hand_are_judged_where_they_are_read(
    alice: User, bob: User, read: Callable[[QuerySet[Note]], object]
) -> None:
    with use_user(alice):
        queryset = Note.objects.all()
        queryset._result_cache = list(Note.objects.all())
        assert len(queryset) == 1
    with use_user(bob), pytest.raises(WrongUser) as raised:
        read(queryset)
    assert str(raised.value).startswith("A queryset of notes.Note")


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows__that_were_prefetched_are_judged_where_they_are_read(
    alice: User, bob: User, read: Callable[[QuerySet[Note]], object]
) -> None:
    with use_user(alice):
        note = Note.objects.get()
        prefetch_related_objects([note], "tags")
        (queryset,) = note._prefetched_objects_cache.values()
        assert [tag.name for tag in queryset] == ["of alice"]
    with use_user(bob), pytest.raises(WrongUser):
        read(queryset)


def test_rows__prefetched_and_never_read_by_their_user(alice: User, bob: User) -> None:
    with use_user(alice):
        note = Note.objects.get()
        prefetch_related_objects([note], "tags")
        (queryset,) = note._prefetched_objects_cache.values()
    with use_user(bob), pytest.raises(WrongUser):
        queryset[0]


def test_rows__are_fetched_once(alice: User, django_assert_num_queries) -> None:
    with use_user(alice):
        queryset = Note.objects.prefetch_related("tags")
        with django_assert_num_queries(2, using=f"user_{alice.pk}"):
            for _ in range(3):
                assert [[tag.name for tag in note.tags.all()] for note in queryset] == [
                    ["of alice"]
                ]
                assert (len(queryset), bool(queryset), queryset[0].text) == (1, True, "of alice")
                assert (queryset.count(), queryset.exists()) == (1, True)


def test_rows__of_a_deep_copy_are_read_anew(alice: User) -> None:
    with use_user(alice):
        queryset = Note.objects.all()
        assert len(queryset) == 1
        copied = copy.deepcopy(queryset)
        Note.objects.create(text="second")
        assert (len(queryset), len(copied)) == (1, 2)
        assert copied._result_cache is not queryset._result_cache


def test_rows__are_read_anew_after_an_update(alice: User) -> None:
    with use_user(alice):
        queryset = Note.objects.all()
        assert [note.text for note in queryset] == ["of alice"]
        queryset.update(text="changed")
        assert queryset._result_cache is None
        assert [note.text for note in queryset] == ["changed"]


def test_rows__of_shared_models_stay_where_django_has_them(alice: User) -> None:
    with use_user(alice):
        users = User.objects.all()
        assert len(users) == 2
        assert KEPT not in users.__dict__


def test_rows__that_nobody_has_put_there(alice: User) -> None:
    queryset = Note.objects.all()
    del queryset.__dict__["_result_cache"]
    with pytest.raises(AttributeError, match=r"^_result_cache$"):
        queryset._result_cache  # noqa: B018, because reading it is what raises
