"""Whom operators mean, and what came of each."""

import pytest
from django.contrib.auth.models import User
from django.db import connections

from dsud import engines, fleet, retirement
from dsud.connections import alias_of
from dsud.context import current_user_id
from dsud.exceptions import FleetFailed
from dsud.models import UserDatabase
from tests.notes.models import Note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


def sign_up(*names: str) -> list[User]:
    return [User.objects.create(username=name) for name in names]


def keys_of(*users: User) -> list[str]:
    return [str(user.pk) for user in users]


def test_keys__registered_first_then_files_that_are_not() -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")
    UserDatabase.objects.filter(user_key=alice.pk).delete()
    assert list(fleet.keys()) == keys_of(bob, carol, alice)


def test_keys__those_to_be_made_and_those_deleted_are_left_out() -> None:
    made, waiting, gone, unregistered = sign_up("made", "waiting", "gone", "unregistered")
    for user in (waiting, gone):
        retirement.retire(str(user.pk))
    UserDatabase.objects.filter(user_key__in=[waiting.pk, unregistered.pk]).update(state="pending")
    UserDatabase.objects.filter(user_key=gone.pk).update(state="deleted")
    # One whose maker was killed before it was registered is there, too.
    assert list(fleet.keys()) == keys_of(made, unregistered)


def test_keys__a_missing_one_is_not_passed_over() -> None:
    (alice,) = sign_up("alice")
    engines.engine().path_of(str(alice.pk)).unlink()
    assert list(fleet.keys()) == keys_of(alice)


def test_keys__file_that_a_killed_process_left_of_a_deleted_user_is_not_ours_any_more() -> None:
    (alice,) = sign_up("alice")
    UserDatabase.objects.update(state="deleted")
    assert engines.engine().exists(str(alice.pk))
    assert list(fleet.keys()) == []


def test_select__by_name_or_key_without_repeating() -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")
    assert fleet.select(users=["bob", str(alice.pk), "bob", "alice"]) == keys_of(bob, alice)
    assert fleet.select(users=[]) == keys_of(alice, bob, carol)
    assert fleet.select(users=[], exclude=["bob", str(carol.pk)]) == keys_of(alice)
    assert fleet.select(users=["alice", "bob"], exclude=["alice"]) == keys_of(bob)
    assert fleet.select(users=[], among=keys_of(carol, bob), exclude=["bob"]) == keys_of(carol)
    assert fleet.select(users=[], among=[]) == []


@pytest.mark.parametrize("name", ["eve", "4711", "", "0x1", "é", "1.5", "9" * 40])
def test_key_of_name__nobody(name: str) -> None:
    sign_up("alice")
    with pytest.raises(fleet.UnknownUser) as caught:
        fleet.select(users=[name])
    assert str(caught.value) == f"There is no user with the name or the key {name!r}."
    with pytest.raises(fleet.UnknownUser):
        fleet.select(users=[], exclude=[name])


def test_key_of_name__two_could_be_meant() -> None:
    (alice,) = sign_up("alice")
    named = User.objects.create(username=str(alice.pk))
    with pytest.raises(fleet.UnknownUser) as caught:
        fleet.key_of_name(str(alice.pk))
    assert str(caught.value) == (
        f"'{alice.pk}' is one user's name and another user's key: "
        f"{sorted(keys_of(alice, named))}. Give the key of the one or the name of the other."
    )
    assert fleet.key_of_name("alice") == str(alice.pk)
    assert fleet.key_of_name(str(named.pk)) == str(named.pk)


def test_for_each__as_each_user_and_past_failures() -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")

    def work(key: str) -> str:
        assert str(current_user_id()) == key
        if key == str(bob.pk):
            raise ZeroDivisionError("for bob")
        return Note.objects.create(text=f"of {key}").text

    outcomes = fleet.for_each(work)
    assert [each.user_key for each in outcomes] == keys_of(alice, bob, carol)
    assert [each.result for each in outcomes] == [f"of {alice.pk}", None, f"of {carol.pk}"]
    assert [repr(each.error) for each in outcomes] == [
        "None",
        "ZeroDivisionError('for bob')",
        "None",
    ]
    assert all(0 < each.seconds < 5 for each in outcomes)
    assert current_user_id() is None
    with pytest.raises(FleetFailed) as caught:
        fleet.raise_failures(outcomes)
    assert str(caught.value) == (
        "1 user databases failed, all others are done."
        f" Mend the causes and run it again:\n  {bob.pk}: for bob"
    )
    assert list(caught.value.failures) == keys_of(bob)


def test_for_each__key_that_names_no_database_is_that_ones_failure() -> None:
    (alice,) = sign_up("alice")
    outcomes = fleet.for_each(lambda key: key, ["no number", str(alice.pk)])
    assert [each.error is None for each in outcomes] == [False, True]


def test_for_each__nobody() -> None:
    assert fleet.for_each(lambda key: key, []) == []
    fleet.raise_failures([])


def test_for_each__interrupted_by_the_operator() -> None:
    sign_up("alice", "bob")

    def interrupt(key: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.for_each(interrupt)
    assert current_user_id() is None


def test_for_each__returns_connections() -> None:
    users = sign_up("alice", "bob", "carol")
    fleet.for_each(lambda key: Note.objects.count())
    assert [connections[alias_of(key)].connection for key in keys_of(*users)] == [None] * 3
