"""Databases that are published are registered together: none is forgotten, and none whose user is gone."""

import pickle
from collections.abc import Iterator
from contextlib import ExitStack
from unittest import mock

import pytest
import pytest_django
from django.contrib.auth.models import User
from django.db import OperationalError

from dsud import provisioning, registrations
from dsud.context import use_user
from dsud.engines import engine
from dsud.filling import filling
from dsud.models import UserDatabase
from dsud.registrations import NotRegistered, Registrations, registering
from dsud.signals import user_database_provisioned
from tests.notes.models import Note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


@pytest.fixture
def people(settings: pytest_django.Settings) -> list[User]:
    """Return three users without databases."""
    settings.DSUD_PROVISION = []
    return [User.objects.create(pk=pk, username=f"user{pk}") for pk in (1, 2, 3)]


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Give the keys of whom the signal tells."""
    keys: list[str] = []

    def receive(*, user_key: str, **kwargs: object) -> None:
        keys.append(user_key)

    user_database_provisioned.connect(receive)
    yield keys
    user_database_provisioned.disconnect(receive)


def fill(key: str, waiting: Registrations) -> None:
    with filling(key, waiting) as is_new:
        assert is_new


def registered() -> dict[str, str]:
    return dict(UserDatabase.objects.order_by("user_key").values_list("user_key", "state"))


def test_registering__all_of_them_at_the_end(people: list[User], told: list[str]) -> None:
    with registering() as waiting:
        for key in "123":
            fill(key, waiting)
        assert (registered(), told) == ({}, [])
        with use_user(1):  # It is in its place, and knows no registry.
            Note.objects.create(text="hers")
    assert registered() == {"1": "ready", "2": "ready", "3": "ready"}
    assert told == ["1", "2", "3"]
    row = UserDatabase.objects.get(user_key="1")
    assert row.schema == provisioning.prepare()
    assert row.size
    assert row.last_used
    assert row.migrated


def test_registering__also_when_the_block_fails(people: list[User], told: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), registering() as waiting:
        fill("1", waiting)
        raise KeyboardInterrupt
    assert (registered(), told) == ({"1": "ready"}, ["1"])


def test_registering__when_there_are_many(
    people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "BATCH", 2)
    with registering() as waiting:
        found = []
        for key in "123":
            fill(key, waiting)
            found.append(len(registered()))
        assert found == [0, 2, 2]
    assert len(registered()) == 3


def test_registering__when_the_first_has_waited(people: list[User]) -> None:
    clock = mock.patch.object(registrations.time, "monotonic", return_value=0.0)
    with clock as now, registering() as waiting:
        fill("1", waiting)
        now.return_value += registrations.PATIENCE + 0.1
        fill("2", waiting)
        assert len(registered()) == 2
        fill("3", waiting)
        assert len(registered()) == 2


def test_registering__database_that_a_killed_run_has_left(
    people: list[User], told: list[str]
) -> None:
    fill("1", Registrations())
    with registering() as waiting, filling("1", waiting) as is_new:
        assert not is_new
    assert (registered(), told) == ({"1": "ready"}, ["1"])


def test_registering__that_another_process_has_registered_is_told_once(
    people: list[User], told: list[str]
) -> None:
    with registering() as waiting:
        fill("1", waiting)
        provisioning.announce("1")
    assert (registered(), told) == ({"1": "ready"}, ["1"])


@pytest.mark.parametrize("is_told", [True, False])
def test_registering__user_who_is_deleted_meanwhile(
    people: list[User], told: list[str], *, is_told: bool
) -> None:
    with registering() as waiting:
        fill("1", waiting)
        fill("2", waiting)
        if is_told:
            people[0].delete()
        else:  # As by SQL, of which nobody hears.
            User.objects.filter(pk=1)._raw_delete("default")
    assert (registered(), told) == ({"2": "ready"}, ["2"])
    assert list(engine().keys()) == ["2"]


def test_registering__database_that_is_registered_as_deleted_goes_to_the_trash(
    people: list[User], told: list[str]
) -> None:
    with registering() as waiting:
        fill("1", waiting)
        UserDatabase.objects.create(user_key="1", state="deleted")
    assert (registered(), told) == ({"1": "deleted"}, [])
    assert not engine().exists("1")


def test_registering__receiver_that_fails_keeps_nobody_else(
    people: list[User], told: list[str]
) -> None:
    def refuse(*, user_key: str, **kwargs: object) -> None:
        if user_key == "1":
            raise ZeroDivisionError

    with ExitStack() as stack:
        user_database_provisioned.connect(refuse)
        stack.callback(user_database_provisioned.disconnect, refuse)
        with pytest.raises(ZeroDivisionError), registering() as waiting:
            for key in "123":
                fill(key, waiting)
    assert registered() == {"1": "ready", "2": "ready", "3": "ready"}
    assert told == ["1", "2", "3"]


def test_registering__that_default_does_not_take_is_tried_again(
    people: list[User], told: list[str]
) -> None:
    waiting = Registrations()
    fill("1", waiting)
    fill("2", waiting)
    register = provisioning.register
    locked = OperationalError("database is locked.")

    def fail_at_second(key: str, *, current: bool) -> bool:
        if key == "2":
            raise locked
        return register(key, current=current)

    failing = mock.patch.object(provisioning, "register", fail_at_second)
    with failing, pytest.raises(NotRegistered) as caught:
        waiting.write()
    assert (registered(), told) == ({}, [])
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.user_keys, error.cause) == (["1", "2"], "database is locked")
    assert str(error) == (
        "The databases of 2 users are filled, but `default` did not register them: database is"
        " locked. Mend that and run this again, which registers them: 1, 2."
    )
    waiting.write()
    waiting.write()
    assert (registered(), told) == ({"1": "ready", "2": "ready"}, ["1", "2"])
