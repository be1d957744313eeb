"""Rows of all users in one stream."""

import os
import signal
import tracemalloc
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.test import TestCase

from dsud import fleet, use_user
from dsud.connections import alias_of
from dsud.context import current_user_id
from dsud.exceptions import FleetFailed, WrongUser
from dsud.fleet import Processes, Threads, processes, rows
from tests.leasing import people, texts
from tests.notes.models import Note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

ALONE_OR_NOT = pytest.mark.parametrize("crew", [1, Processes(2)], ids=["alone", "processes"])


def keys_of(users: list[User]) -> list[str]:
    return [str(user.pk) for user in users]


def fill(user: User, count: int, *, length: int = 1) -> None:
    with use_user(user):
        Note.objects.bulk_create([Note(text="x" * length) for _ in range(count)])


@ALONE_OR_NOT
def test_query__values_of_all_users_in_order(crew: object) -> None:
    users = people(5)
    found = fleet.query(lambda key: Note.objects.values("text"), workers=crew)
    assert list(found) == [(str(user.pk), {"text": user.username}) for user in users]

    found = fleet.query(
        lambda key: Note.objects.filter(text__contains="3").values_list("pk", "text"), workers=crew
    )
    assert list(found) == [(str(users[3].pk), (1, "person3"))]

    found = fleet.query(lambda key: Note.objects.none(), workers=crew)
    assert list(found) == []


@ALONE_OR_NOT
def test_query__instances_stay_their_users(crew: object) -> None:
    alice, bob = people(2)
    (_, hers), (_, his) = fleet.query(lambda key: Note.objects.order_by("pk"), workers=crew)
    assert (hers._state.db, his._state.db) == (alias_of(str(alice.pk)), alias_of(str(bob.pk)))
    with use_user(bob):
        with pytest.raises(WrongUser):
            hers.save()
        his.text = "changed"
        his.save()
    assert texts(bob) == ["changed"]


@ALONE_OR_NOT
def test_query__more_rows_than_are_read_at_a_time(
    crew: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 3)
    alice, bob, carol = people(3)
    for user, count in ((alice, 7), (bob, 5), (carol, 2)):
        fill(user, count)
    found = [key for key, _ in fleet.query(lambda key: Note.objects.values("pk"), workers=crew)]
    assert found == keys_of([alice] * 8 + [bob] * 6 + [carol] * 3)


@ALONE_OR_NOT
def test_query__who_takes_the_rows_is_nobody_and_may_write(
    crew: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 1)
    alice, bob = people(2)
    fill(alice, 2)
    for key, _ in fleet.query(lambda key: Note.objects.order_by("pk"), workers=crew):
        assert current_user_id() is None
        if key == str(alice.pk):
            with use_user(bob):
                Note.objects.create(text=f"beside {key}")
        with use_user(int(key)):
            Note.objects.filter(pk=1).update(text="seen")
    assert texts(alice) == ["seen", "x", "x"]
    assert texts(bob) == ["seen", *[f"beside {alice.pk}"] * 3]


@ALONE_OR_NOT
def test_query__refuses_changes(crew: object) -> None:
    people(2)

    def write(key: str) -> object:
        Note.objects.create(text="x")
        return Note.objects.all()

    with pytest.raises(FleetFailed) as caught:
        list(fleet.query(write, workers=crew))
    assert {str(error) for error in caught.value.failures.values()} == {
        "attempt to write a readonly database"
    }


@ALONE_OR_NOT
def test_query__failures_are_told_after_the_last_row(crew: object) -> None:
    alice, bob, carol = people(3)

    def read(key: str) -> object:
        if key == str(bob.pk):
            raise ZeroDivisionError("for bob")
        return Note.objects.values_list("text", flat=True)

    found = []
    with pytest.raises(FleetFailed) as caught:
        found.extend(fleet.query(read, [*keys_of([alice, bob, carol]), "4711"], workers=crew))
    assert found == [(str(alice.pk), "person0"), (str(carol.pk), "person2")]
    failures = caught.value.failures
    assert list(failures) == [str(bob.pk), "4711"]
    assert str(failures["4711"]).startswith("The database of user '4711' was never made.")


def test_query__whatever_is_iterable() -> None:
    (alice,) = people(1)
    key = str(alice.pk)
    raw = fleet.query(lambda key: Note.objects.raw("SELECT * FROM notes_note"))
    assert [note.text for _, note in raw] == ["person0"]
    assert list(fleet.query(lambda key: iter("ab"), workers=Processes(1))) == [
        (key, "a"),
        (key, "b"),
    ]


@ALONE_OR_NOT
def test_query__left_early(crew: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH", 10)
    alice, _ = people(2)
    fill(alice, 2_000)
    found = fleet.query(lambda key: Note.objects.values("pk"), workers=crew)
    next(found)
    found.close()
    with use_user(alice), transaction.atomic():
        Note.objects.all().delete()


def test_query__threads_do_not_read() -> None:
    with pytest.raises(fleet.WorkersRefused) as caught:
        fleet.query(lambda key: Note.objects.all(), workers=Threads(2))
    assert str(caught.value) == "Rows are read by processes, or with workers=1; not by threads."


def test_query__memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when a big database is read while a slow one has its turn."""
    monkeypatch.setattr(processes, "AHEAD_BYTES", 300_000)
    users = people(3)
    fill(users[0], 10)
    for user in users[1:]:
        fill(user, 4_000, length=1_000)

    def read(key: str) -> Iterator[str]:
        if key == str(users[0].pk):
            import time

            time.sleep(0.5)  # So that the others are far ahead.
        return Note.objects.values_list("text", flat=True)

    tracemalloc.start()
    try:
        count = sum(1 for _ in fleet.query(read, workers=Processes(3)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 8_013
    assert peak < 6_000_000  # Of 8 MB of text.


@pytest.mark.parametrize("sizes", [(1, 1), (40, 1), (1, 40)])
def test_query__worker_killed_in_the_middle_repeats_no_row(
    sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 5)
    users = people(12)
    for user in users:
        fill(user, sizes[int(user.pk) % 2])
    victim = str(users[6].pk)

    def read(key: str) -> Iterator[int]:
        for index, pk in enumerate(Note.objects.values_list("pk", flat=True).order_by("pk")):
            if key == victim and index == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield pk

    found: dict[str, list[int]] = {}
    with pytest.raises(FleetFailed) as caught:
        for key, pk in fleet.query(read, workers=Processes(2)):
            found.setdefault(key, []).append(pk)
    assert list(caught.value.failures) == [victim]
    assert list(found) == [key for key in keys_of(users) if key != victim]
    for user in users:
        if str(user.pk) != victim:
            assert found[str(user.pk)] == list(range(1, sizes[int(user.pk) % 2] + 2))


class InTestCase(TestCase):
    """Databases that only this thread can see."""

    def test_query(self) -> None:
        alice, bob = (User.objects.create(username=name) for name in ("alice", "bob"))
        for user in (alice, bob):
            with use_user(user):
                Note.objects.create(text=f"of {user}")
        found = fleet.query(lambda key: Note.objects.values_list("text", flat=True), workers=4)
        assert list(found) == [(str(alice.pk), "of alice"), (str(bob.pk), "of bob")]
        with connections[alias_of(str(bob.pk))].cursor() as cursor:
            cursor.execute("DELETE FROM notes_note")
