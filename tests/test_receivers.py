"""Receivers of pre_delete and post_delete see the rows of a deleted user; the file goes away as it was."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import Signal
from django.test import Client, TestCase
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dsud import lifecycle, receivers
from dsud.connections import alias_of
from dsud.context import active_key, current_user_id, use_user
from dsud.engines import engine
from dsud.exceptions import UserDatabaseUnavailable, UserRowsUnavailable
from dsud.pool import pool
from tests.archive.models import Draft, Folder, Sheet
from tests.library.models import Book, Loan
from tests.notes.models import Loud, Note, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


class Boom(Exception):
    """What a receiver raises."""


@contextmanager
def receiver(
    receive: Callable[..., object], *signals: Signal, sender: type[Model] | None = Note
) -> Iterator[None]:
    for signal in signals:
        signal.connect(receive, sender=sender)
    try:
        yield
    finally:
        for signal in signals:
            signal.disconnect(receive, sender=sender)


class Ear:
    """A receiver that notes what it hears, and who was active."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str, object, object]] = []
        self.instances: list[Model] = []
        self.origins: list[object] = []

    def __call__(
        self,
        *,
        signal: Signal,
        sender: type[Model],
        instance: Model,
        using: str,
        origin: object,
        **kwargs: object,
    ) -> None:
        if sender._meta.app_label in ("auth", "dsud", "admin", "sessions"):
            return
        name = "pre" if signal is pre_delete else "post"
        self.heard.append((name, sender.__name__, str(instance), using, current_user_id()))
        self.instances.append(instance)
        self.origins.append(origin)


def sign_up(name: str, *texts: str) -> User:
    user = User.objects.create(username=name)
    with use_user(user):
        for text in texts:
            Note.objects.create(text=text)
    return user


def file_of(location: Path, key: object) -> list[str]:
    """Return the texts in a user's file, be it in the trash or not."""
    (path,) = location.glob(f"??/{key}/*/db.sqlite3")
    with closing(sqlite3.connect(path)) as raw:
        return [text for (text,) in raw.execute("SELECT text FROM notes_note ORDER BY id")]


def expected(user_pk: object, *texts: str) -> list[tuple[str, str, str, object, object]]:
    alias = f"user_{user_pk}"
    return [(name, "Note", text, alias, user_pk) for text in texts for name in ("pre", "post")]


def test_delete__shows_each_row_before_and_after(location: Path) -> None:
    alice, bob = sign_up("alice", "one", "two"), sign_up("bob", "three")
    pk, ear = alice.pk, Ear()
    with receiver(ear, pre_delete, post_delete), CaptureQueriesContext(connection) as queries:
        alice.delete()
    assert ear.heard == expected(pk, "one", "two")
    assert ear.instances[0] is ear.instances[1]
    assert ear.origins == [alice] * 4
    assert "notes_note" not in str(queries.captured_queries)
    assert file_of(location, pk) == ["one", "two"]
    assert not engine().exists(str(pk))
    with use_user(bob):
        assert Note.objects.count() == 1
    assert active_key() is None


def test_delete__the_user_is_still_there_when_receivers_look() -> None:
    alice = sign_up("alice")
    with use_user(alice):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader=alice)
    readers = []

    def look(*, instance: Loan, **kwargs: object) -> None:
        readers.append(instance.reader.username)

    with receiver(look, pre_delete, post_delete, sender=Loan):
        alice.delete()
    assert readers == ["alice", "alice"]


def test_delete__calls_those_who_listen_to_everything() -> None:
    """Once for each table: no proxies, and none of the tables between models."""
    alice = sign_up("alice", "one")
    with use_user(alice):
        Note.objects.get().tags.add(Tag.objects.create(name="x"))
        Draft.objects.create(folder=Folder.objects.create(name="f"), text="t")
        assert Loud.objects.count() == 1
    ear = Ear()
    with receiver(ear, post_delete, sender=None):
        alice.delete()
    assert sorted(name for _, name, *_ in ear.heard) == ["Draft", "Folder", "Note", "Sheet", "Tag"]
    assert {type(instance) for instance in ear.instances} == {Draft, Folder, Note, Sheet, Tag}


def test_delete__opens_nothing_when_nobody_listens(location: Path) -> None:
    alice = sign_up("alice", "one")
    pool.close_idle()
    with mock.patch.object(type(engine()), "open", side_effect=AssertionError):
        alice.delete()


@pytest.mark.parametrize("page", [1, 2, 3, 500])
def test_delete__shows_all_rows_page_by_page(page: int) -> None:
    texts = [str(number) for number in range(6)]
    alice = sign_up("alice", *texts)
    pk, ear = alice.pk, Ear()
    with mock.patch.object(receivers, "PAGE", page), receiver(ear, pre_delete, post_delete):
        alice.delete()
    assert ear.heard == expected(pk, *texts)


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_delete__of_many_users_at_once_keeps_no_connection(
    location: Path, block: Callable[[], AbstractContextManager[None]]
) -> None:
    for number in range(100):
        sign_up(f"user{number}", str(number))
    pool.close_idle()
    ear, leased = Ear(), []

    def count(**kwargs: object) -> None:
        leased.append(len(pool.held()))

    with receiver(ear, pre_delete), receiver(count, pre_delete), block():
        User.objects.order_by("pk").delete()
    assert [text for _, _, text, *_ in ear.heard] == [str(number) for number in range(100)]
    assert max(leased) == 1
    assert len({using for *_, using, _ in ear.heard}) == 100
    assert len({id(origin) for origin in ear.origins}) == 1
    assert list(engine().keys()) == []


def test_delete__rolled_back_afterwards_keeps_the_database(location: Path) -> None:
    alice, ear = sign_up("alice", "one"), Ear()
    key = alice.pk
    with receiver(ear, pre_delete, post_delete), pytest.raises(Boom), transaction.atomic():
        User.objects.get().delete()
        raise Boom
    assert len(ear.heard) == 2
    with use_user(key):
        assert Note.objects.get().text == "one"


def test_delete__receiver_that_raises_rolls_everything_back(location: Path) -> None:
    alice, bob = sign_up("alice", "one"), sign_up("bob", "two")

    def fail(*, instance: Note, **kwargs: object) -> None:
        Note.objects.create(text="written by the receiver")
        if instance.text == "two":
            raise Boom

    with receiver(fail, post_delete), pytest.raises(Boom):
        User.objects.order_by("pk").delete()
    assert list(User.objects.order_by("pk")) == [alice, bob]
    assert sorted(engine().keys()) == sorted([str(alice.pk), str(bob.pk)])
    for user, text in ((alice, "one"), (bob, "two")):
        with use_user(user):
            assert Note.objects.get().text == text


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_delete__what_receivers_write_is_undone(
    location: Path, block: Callable[[], AbstractContextManager[None]]
) -> None:
    """So that undeleting brings back what the user had; loops of rows that make rows end, too."""
    alice = sign_up("alice", "one", "two")
    pk = alice.pk

    def write(*, instance: Note, **kwargs: object) -> None:
        Note.objects.create(text="more")
        with transaction.atomic():
            Note.objects.filter(text="two").update(text="changed")
        with pytest.raises(Boom), transaction.atomic():
            Note.objects.update(text="gone")
            raise Boom
        seen.append(sorted(Note.objects.values_list("text", flat=True)))

    seen: list[list[str]] = []
    with receiver(write, pre_delete), block():
        alice.delete()
    assert seen == [["changed", "more", "one"], ["changed", "more", "more", "one"]]
    assert file_of(location, pk) == ["one", "two"]


def test_delete__callbacks_of_receivers_run_when_it_is_committed(location: Path) -> None:
    """As django-cleanup has it, which waits for the database of the row before it removes a file."""
    alice = sign_up("alice", "one")
    pk, ran = alice.pk, []

    def wait(*, instance: Note, using: str, **kwargs: object) -> None:
        transaction.on_commit(lambda: ran.append((instance.text, active_key())), using=using)
        transaction.on_commit(lambda: ran.append(("default", active_key())))

    with receiver(wait, post_delete):
        with pytest.raises(Boom), transaction.atomic():
            User.objects.get().delete()
            raise Boom
        assert ran == []
        with transaction.atomic():
            User.objects.get().delete()
            assert ran == []
    assert sorted(ran) == [("default", str(pk)), ("one", str(pk))]


def test_delete__while_another_user_is_active() -> None:
    alice, bob = sign_up("alice", "one"), sign_up("bob", "two")
    pk, ear = alice.pk, Ear()
    with receiver(ear, pre_delete, post_delete), use_user(bob):
        with transaction.atomic():
            Note.objects.create(text="three")
            alice.delete()
            assert active_key() == str(bob.pk)
            assert Note.objects.count() == 2
        assert Note.objects.count() == 2
    assert ear.heard == expected(pk, "one")


def test_delete__of_oneself_in_a_transaction_with_rows() -> None:
    alice, ear = sign_up("alice", "one"), Ear()
    pk = alice.pk
    with receiver(ear, pre_delete), use_user(alice), transaction.atomic():
        Note.objects.create(text="two")
        alice.delete()
    assert [text for _, _, text, *_ in ear.heard] == ["one", "two"]
    assert not engine().exists(str(pk))


def test_delete__of_a_user_who_signs_up_in_the_same_transaction() -> None:
    ear = Ear()
    with receiver(ear, pre_delete), transaction.atomic():
        alice = sign_up("alice", "one")
        pk = alice.pk
        alice.delete()
    assert ear.heard == expected(pk, "one")[:1]
    assert not engine().exists(str(pk))


def test_adelete() -> None:
    alice, ear = sign_up("alice", "one"), Ear()
    pk = alice.pk
    with receiver(ear, pre_delete, post_delete):
        asyncio.run(alice.adelete())
    assert ear.heard == expected(pk, "one")


def test_delete__in_the_admin(client: Client) -> None:
    users = [sign_up(name, name) for name in ("alice", "bob", "carol")]
    root = User.objects.create_superuser("root")
    client.force_login(root)
    ear = Ear()
    with receiver(ear, pre_delete, post_delete):
        client.post(reverse("admin:auth_user_delete", args=[users[0].pk]), {"post": "yes"})
        chosen = {"action": "delete_selected", "_selected_action": [user.pk for user in users[1:]]}
        assert client.post(reverse("admin:auth_user_changelist"), chosen).status_code == 200
        assert len(ear.heard) == 2
        client.post(reverse("admin:auth_user_changelist"), {**chosen, "post": "yes"})
    heard = [expected(user.pk, user.username) for user in users]
    assert ear.heard[:2] == heard[0]
    assert sorted(ear.heard[2:]) == sorted([*heard[1], *heard[2]])
    assert list(User.objects.all()) == [root]


def test_copy_of_a_user_in_another_database__has_no_rows() -> None:
    alice, ear = sign_up("alice", "one"), Ear()
    with receiver(ear, pre_delete):
        lifecycle.tell_of_rows(instance=alice, using="archive")
    assert ear.heard == []


class InATestCase(TestCase):
    def test_rows_are_shown(self) -> None:
        alice, bob = sign_up("alice", "one"), sign_up("bob", "two")
        pk, ear = alice.pk, Ear()
        with receiver(ear, pre_delete, post_delete):
            alice.delete()
        assert ear.heard == expected(pk, "one")
        with use_user(bob):
            assert Note.objects.get().text == "two"

    def test_rows_are_shown_of_a_deletion_that_is_rolled_back(self) -> None:
        alice, ear = sign_up("alice", "one"), Ear()
        pk = alice.pk
        with receiver(ear, pre_delete, post_delete), pytest.raises(Boom), transaction.atomic():
            User.objects.get(pk=pk).delete()
            raise Boom
        assert ear.heard == expected(pk, "one")
        with use_user(pk):
            assert Note.objects.get().text == "one"

    def test_callbacks_wait_for_the_commit(self) -> None:
        alice, ran = sign_up("alice", "one"), []

        def wait(*, using: str, **kwargs: object) -> None:
            transaction.on_commit(lambda: ran.append(using), using=using)

        with receiver(wait, post_delete), self.captureOnCommitCallbacks(execute=True):
            alice.delete()
        assert len(ran) == 1


# Databases that are not there, or broken


def test_delete__of_a_user_without_a_database(settings: pytest_django.Settings) -> None:
    settings.DSUD_PROVISION = ["first_use"]
    alice, ear = User.objects.create(username="alice"), Ear()
    with receiver(ear, pre_delete):
        alice.delete()
    assert (ear.heard, User.objects.count(), list(engine().keys())) == ([], 0, [])


NOT_DELETED = (
    "User {key!r} was not deleted, because receivers of pre_delete or post_delete would miss the"
    " user's rows, which cannot be read: {cause} If they are lost, delete the user inside `with"
    " lifecycle.giving_up_rows():`."
)


def lose(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def corrupt(path: Path) -> None:
    for sidecar in path.parent.glob("db.sqlite3-*"):
        sidecar.unlink()
    path.write_bytes(b"no database at all, but as long as the header of one would be" * 100)


def lock(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    return raw


def drop_the_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("ALTER TABLE notes_note RENAME TO notes_from_before")


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lose, "registered but its file is missing"),
        (corrupt, "file is not a database"),
        (drop_the_table, "no such table: notes_note"),
        (lock, "database is locked"),
    ],
)
def test_delete__is_refused_when_rows_cannot_be_read(
    location: Path,
    damage: Callable[[Path], sqlite3.Connection | None],
    cause: str,
    settings: pytest_django.Settings,
) -> None:
    settings.USER_DATABASES = {
        "default": {**settings.USER_DATABASES["default"], "OPTIONS": {"timeout": 0.1}}
    }
    alice, bob, ear = sign_up("alice", "one"), sign_up("bob", "two"), Ear()
    key = str(alice.pk)
    connections[alias_of(key)].close()
    pool.close_idle()
    path = engine().path_of(key)
    held = damage(path)
    with receiver(ear, pre_delete):
        with pytest.raises(UserRowsUnavailable) as caught:
            User.objects.order_by("pk").delete()
        assert cause in str(caught.value)
        start, _, end = NOT_DELETED.format(key=key, cause="|").partition("|")
        assert str(caught.value).startswith(start)
        assert str(caught.value).endswith(end)
        assert isinstance(caught.value, UserDatabaseUnavailable)
        assert (caught.value.user_key, User.objects.count()) == (key, 2)
        with use_user(bob):
            assert Note.objects.get().text == "two"
        if held is not None:
            held.close()
        with lifecycle.giving_up_rows():
            alice.delete()
        assert ear.heard == []
        bob.delete()
    assert (len(ear.heard), User.objects.count()) == (1, 0)
    assert list(engine().keys()) == []


def test_sheets__of_a_folder_are_shown_although_nothing_cascades() -> None:
    alice, ear = sign_up("alice"), Ear()
    with use_user(alice):
        folder = Folder.objects.create(name="f")
        for text in ("a", "b"):
            Sheet.objects.create(folder=folder, text=text)
    with receiver(ear, pre_delete, sender=Sheet):
        alice.delete()
    assert [name for _, name, *_ in ear.heard] == ["Sheet", "Sheet"]
