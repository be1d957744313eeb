"""The admin's history of a row shows what was done to that row, and not to its namesakes."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from dsud import use_user
from tests.notes.models import Note, Tag


@pytest.fixture
def admin_site(client: Client, db: None) -> Client:
    """Return a client that is logged in as a superuser."""
    client.force_login(User.objects.create_superuser("root", password="secret"))
    return client


def switch(client: Client, user: User) -> None:
    """Open a user's data."""
    assert client.post(reverse("dsud:set_user"), {"user_id": user.pk}).status_code == 302


def history(client: Client) -> list[str]:
    """Return the messages that the page shows."""
    response = client.get(reverse("admin:notes_note_history", args=[1]))
    assert response.status_code == 200
    return [entry.get_change_message() for entry in response.context_data["action_list"]]


def test_history__shows_only_entries_about_this_users_row(
    admin_site: Client, alice: User, bob: User
) -> None:
    for user, text in [(alice, "alice's secret"), (bob, "bob's secret")]:
        switch(admin_site, user)
        with use_user(user):
            note = Note.objects.create(text="empty")
            tag = Tag.objects.create(name="any")
        admin_site.post(
            reverse("admin:notes_note_change", args=[note.pk]), {"text": text, "tags": [tag.pk]}
        )
    assert LogEntry.objects.filter(object_id="1", object_repr__contains="secret").count() == 2
    for user in (alice, bob):
        switch(admin_site, user)
        assert len(history(admin_site)) == 1
        entry = admin_site.get(reverse("admin:notes_note_history", args=[1])).context_data
        assert [each.object_repr for each in entry["action_list"]] == [f"{user.username}'s secret"]
        assert not entry["pagination_required"]


def test_history__entry_of_nobody_is_not_shown(admin_site: Client, alice: User) -> None:
    with use_user(alice):
        Note.objects.create(text="x")
    content_type = ContentType.objects.get_for_model(Note)
    LogEntry.objects.create(
        user=alice, content_type=content_type, object_id="1", action_flag=ADDITION
    )
    switch(admin_site, alice)
    assert history(admin_site) == []


def test_mark__keeps_what_was_done_and_leaves_plain_text_alone(alice: User) -> None:
    content_type = ContentType.objects.get_for_model(Note)
    values = {"user": alice, "content_type": content_type, "object_id": "1", "action_flag": CHANGE}
    with use_user(alice):
        changed = LogEntry.objects.create(
            **values, change_message='[{"changed": {"fields": ["Text"]}}]'
        )
        plain = LogEntry.objects.create(**values, change_message="Imported.")
    assert changed.get_change_message() == "Changed Text."
    assert f'{{"user_database": "{alice.pk}"}}' in changed.change_message
    assert plain.change_message == "Imported."


def test_mark__entries_about_shared_rows_stay_as_they_are(alice: User) -> None:
    content_type = ContentType.objects.get_for_model(User)
    with use_user(alice):
        entry = LogEntry.objects.create(
            user=alice, content_type=content_type, object_id="1", action_flag=CHANGE
        )
    assert entry.change_message == ""


def test_mark__entries_that_are_logged_together(alice: User) -> None:
    with use_user(alice):
        notes = [Note.objects.create(text=text) for text in ("one", "two")]
        done = [{"changed": {"fields": ["Text"]}}]
        LogEntry.objects.log_actions(alice.pk, notes, CHANGE, done)
    logged = LogEntry.objects.all()
    assert [entry.get_change_message() for entry in logged] == ["Changed Text."] * 2
    assert {f'{{"user_database": "{alice.pk}"}}' in entry.change_message for entry in logged} == {
        True
    }
