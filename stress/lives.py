"""Users who come and go: sign-ups, some rolled back, deletions, and keys that are issued again."""

from __future__ import annotations

from dataclasses import replace

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import User
from django.db import transaction

from dsud import use_user
from dsud.exceptions import DSUDError
from stress.deeds import change, read, write
from stress.diary.models import Entry
from stress.stage import Person, Scene
from stress.tally import Boom


def sign_up(person: Person, *, operator: bool = False) -> User:
    """Make the user; nobody has a password, so that sessions can be made without a query."""
    return User.objects.create(
        pk=person.pk,
        username=person.stamp,
        password=UNUSABLE_PASSWORD_PREFIX,
        is_staff=operator,
        is_superuser=operator,
    )


def live(scene: Scene) -> None:
    """Have somebody sign up, write, be deleted, and somebody else be given the same key."""
    guest = scene.as_person(scene.stage.cast.guest())
    if scene.chance(0.5):
        guest = _try_to_sign_up(guest)
    with transaction.atomic():
        sign_up(guest.me)
        if scene.chance(0.5):
            _use_first(guest)
    scene.tally.happened("sign-ups")
    with use_user(guest.me.pk):
        scene.tally.did(read(guest) + change(guest))
    if scene.chance(0.5):
        _try_to_delete(guest)
    if scene.chance(0.3):
        with transaction.atomic():
            _delete(guest)
            guest = _sign_up_again(guest)
    else:
        _delete(guest)
        _be_refused(guest)
        if scene.chance(0.5):
            _sign_up_again(guest)


def doom(scene: Scene) -> None:
    """Delete a user whom others may be using at this moment, for good."""
    user = User.objects.filter(pk=scene.stage.cast.doomed_one(scene.rng).pk).first()
    if user is not None:
        user.delete()
        scene.tally.happened("deletions")


def _try_to_sign_up(guest: Scene) -> Scene:
    with guest.forgiving(), transaction.atomic():
        sign_up(guest.me)
        _use_first(guest)
        raise Boom
    guest.tally.happened("sign-ups rolled back")
    return _next(guest)


def _try_to_delete(guest: Scene) -> None:
    with use_user(guest.me.pk):
        before = Entry.objects.count()
    with guest.forgiving(), transaction.atomic():
        User.objects.get(pk=guest.me.pk).delete()
        raise Boom
    guest.tally.happened("deletions rolled back")
    with use_user(guest.me.pk):
        if Entry.objects.count() != before:
            guest.tally.wrong("RowsLost")
    guest.tally.did(2)


def _delete(guest: Scene) -> None:
    User.objects.get(pk=guest.me.pk).delete()
    guest.tally.happened("deletions")


def _be_refused(guest: Scene) -> None:
    """Reach for the rows of a user who is gone."""
    try:
        with use_user(guest.me.pk):
            Entry.objects.count()
    except DSUDError as error:
        guest.tally.refused(error)
    else:
        guest.tally.leaked("deleted user")
    guest.tally.did(1)


def _sign_up_again(guest: Scene) -> Scene:
    again = _next(guest)
    sign_up(again.me)
    guest.tally.happened("keys issued again")
    _use_first(again)
    return again


def _use_first(guest: Scene) -> None:
    """Use a database for the first time: it must be empty, whoever had the key before."""
    with use_user(guest.me.pk):
        if found := Entry.objects.count():
            guest.tally.leaked("key issued again", found)
        guest.tally.did(write(guest) + 1)


def _next(guest: Scene) -> Scene:
    return guest.as_person(replace(guest.me, generation=guest.me.generation + 1))
