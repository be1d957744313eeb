"""Copies are compared with their originals at a glance, for one user after the other."""

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud import mirrors, originals
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.originals import Originals

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


def connection_of(user: User) -> BaseDatabaseWrapper:
    connection = connections[alias_of(str(user.pk))]
    connection.ensure_connection()
    return connection


def are_copied(user: User, known: Originals) -> bool:
    with use_user(user):
        return known.are_copied(str(user.pk), connection_of(user))


def test_are_copied__as_they_are_when_made() -> None:
    users = [
        User.objects.create_user("alice", password="secret", last_login="2026-01-02T03:04:05Z"),
        User.objects.create(username="bob"),
    ]
    known = Originals()
    assert [are_copied(user, known) for user in users] == [True, True]


def test_are_copied__rows_of_others_are_read_ahead() -> None:
    users = [User.objects.create(username=f"user{number}") for number in range(5)]
    known = Originals()
    asked: list[str] = []
    raw = connections["default"].connection
    raw.set_trace_callback(asked.append)  # Because it is asked without a cursor of Django's.
    assert all(are_copied(user, known) for user in users)
    raw.set_trace_callback(None)
    assert len([sql for sql in asked if "auth_user" in str(sql)]) == 1
    assert len([sql for sql in asked if "django_content_type" in str(sql)]) == 1


def test_are_copied__not_when_an_original_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "KEPT_SECONDS", -1.0)
    alice = User.objects.create(username="alice")
    known = Originals()
    User.objects.update(first_name="changed")
    assert not are_copied(alice, known)
    mirrors.renew(str(alice.pk))
    assert are_copied(alice, known)
    ContentType.objects.filter(app_label="auth", model="user").update(model="changed")
    assert not are_copied(alice, known)


def test_are_copied__not_when_the_original_is_gone() -> None:
    alice = User.objects.create(username="alice")
    key = str(alice.pk)
    with use_user(alice):
        connection = connection_of(alice)
        User.objects.filter(pk=key)._raw_delete("default")
        assert not Originals().are_copied(key, connection)


def test_are_copied__nobody_can_tell_of_another_kind_of_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice = User.objects.create(username="alice")
    monkeypatch.setattr(connections["default"], "vendor", "postgresql")
    with use_user(alice):
        assert not Originals().are_copied(str(alice.pk), connection_of(alice))
