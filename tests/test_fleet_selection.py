"""Whom operators mean."""

import pytest
from django.contrib.auth.models import User

from dsud import engines, fleet, retirement
from dsud.fleet import selection
from dsud.models import UserDatabase

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


def test_keys__page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "PAGE", 2)
    users = sign_up("alice", "bob", "carol", "dave", "erin", "frank", "grace")
    UserDatabase.objects.filter(user_key__in=keys_of(*users[:3])).delete()
    found = list(fleet.keys())
    assert found[:4] == keys_of(*users[3:])
    assert sorted(found[4:]) == sorted(keys_of(*users[:3]))


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
