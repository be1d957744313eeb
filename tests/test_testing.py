"""Django's test classes do for user databases what they do for ``default``; run for real inside a test."""

from __future__ import annotations

import io
import json
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType
from unittest import mock
from urllib.request import urlopen

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core import serializers
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import (
    LiveServerTestCase,
    SimpleTestCase,
    TestCase,
    TransactionTestCase,
    override_settings,
)
from django.test.testcases import DatabaseOperationForbidden
from django.test.utils import CaptureQueriesContext
from django.urls import path

from dsud import current_user_id, fleet, testing, use_user
from dsud.connections import alias_of, release
from dsud.context import active_alias, user_key
from dsud.engines import engine
from dsud.engines.hooks import Hooks
from dsud.engines.scratch import in_tests, scratch
from dsud.exceptions import InvalidEngine, NoActiveUser
from dsud.models import UserDatabase
from dsud.pool import pool
from dsud.router import is_user_model
from dsud.signals import user_database_provisioned
from tests.cases import prepared, run
from tests.library.models import Book, Loan
from tests.notes.models import Note, Tag

__all__ = ["prepared"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("prepared")]


def texts() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


def create(name: str) -> User:
    return get_user_model().objects.create_user(name)


# Rolled back


def test_test_case__new_user_starts_clean_and_vanishes() -> None:
    class Tests(TestCase):
        def use(self) -> None:
            alice = create("alice")
            with use_user(alice):
                self.assertEqual(texts(), [])
                Note.objects.create(text="hers")
                self.assertEqual(texts(), ["hers"])

        test_first = test_second = use

    run(Tests, Tests)
    assert list(engine().keys()) == []
    assert not UserDatabase.objects.exists()
    assert not list(testing.directory().rglob("db.sqlite3*"))


def test_test_case__rows_of_a_user_who_was_there_before_are_gone() -> None:
    bob = create("bob")
    with use_user(bob):
        Note.objects.create(text="before")

    class Tests(TestCase):
        def change(self) -> None:
            with use_user(bob):
                self.assertEqual(texts(), ["before"])
                Note.objects.update(text="changed")
                Note.objects.create(text="added")

        test_first = test_second = change

        def test_third__by_its_alias(self) -> None:
            notes = Note.objects.using(alias_of(user_key(bob)))
            self.assertEqual(notes.get().text, "before")
            notes.all().delete()

    run(Tests)
    with use_user(bob):
        assert texts() == ["before"]


def test_test_case__user_of_an_inner_block_stays_in_the_test() -> None:
    class Tests(TestCase):
        def test(self) -> None:
            ran: list[str] = []
            with transaction.atomic():
                alice = create("alice")
                alias = alias_of(user_key(alice))
                with use_user(alice):
                    Note.objects.create(text="first")
                transaction.on_commit(lambda: ran.append("committed"), using=alias)
            self.assertTrue(connections[alias].in_atomic_block)
            with use_user(alice):
                with self.assertRaises(ZeroDivisionError), transaction.atomic():
                    Note.objects.create(text="second")
                    raise ZeroDivisionError
                self.assertEqual(texts(), ["first"])
            self.assertEqual(ran, [])

    run(Tests, Tests)


def test_test_case__database_made_in_a_test_has_nothing_to_go_back_to() -> None:
    def depth(user: User) -> int:
        with use_user(user):
            Note.objects.create(text="theirs")
        return len(connections[alias_of(user_key(user))].savepoint_ids)

    class Tests(TestCase):
        alice: User

        @classmethod
        def setUpTestData(cls) -> None:
            cls.alice = create("alice")

        def test(self) -> None:
            self.assertEqual(depth(self.alice), 1)
            self.assertEqual(depth(create("bob")), 0)
            with transaction.atomic():
                self.assertEqual(depth(create("eve")), 1)

    run(Tests, Tests)


def test_test_data__survives_between_the_tests_of_a_class() -> None:
    class Tests(TestCase):
        alice: User
        note: Note

        @classmethod
        def setUpTestData(cls) -> None:
            cls.alice = create("alice")
            with use_user(cls.alice):
                cls.note = Note.objects.create(text="for all")

        def change(self) -> None:
            with use_user(self.alice):
                self.assertEqual(texts(), ["for all"])
                self.note.text = "changed"
                self.note.save()
                Note.objects.create(text="added")

        test_first = test_second = change

    class Others(TestCase):
        def test_nothing_is_left(self) -> None:
            with use_user(create("alice")):
                self.assertEqual(texts(), [])

    run(Tests, Others, Tests)


def test_test_case__has_more_users_with_rows_than_connections_may_be_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dsud.pool.WAIT", 0.1)
    eve = create("eve")  # Her database is a file, for which one connection is left.

    class Tests(TestCase):
        users: list[User]

        @classmethod
        def setUpTestData(cls) -> None:
            cls.users = [create(f"user{number}") for number in range(5)]
            for user in cls.users:
                with use_user(user):
                    Note.objects.create(text=user.username)

        def test_all_of_them(self) -> None:
            for user in (eve, *self.users):
                with use_user(user):
                    self.assertEqual(texts(), [user.username] * (user != eve))
            self.assertLessEqual(pool.slots, 1)

    with override_settings(DSUD_MAX_OPEN=1):
        run(Tests)
    assert not pool.leased


def test_test_case__rollback_inside_a_test_takes_a_new_database_along() -> None:
    class Tests(TestCase):
        def test_sign_up_that_fails(self) -> None:
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                alice = create("alice")
                with use_user(alice):
                    Note.objects.create(text="lost")
                raise ZeroDivisionError
            self.assertIsNone(engine().staged_here(user_key(alice.pk or 1)))
            with use_user(create("bob")):
                self.assertEqual(texts(), [])

        def test_savepoint(self) -> None:
            with use_user(create("alice")):
                Note.objects.create(text="kept")
                with self.assertRaises(ZeroDivisionError), transaction.atomic():
                    Note.objects.create(text="lost")
                    raise ZeroDivisionError
                self.assertEqual(texts(), ["kept"])

        def test_user_who_is_deleted_and_comes_again(self) -> None:
            alice = create("alice")
            with use_user(alice):
                Note.objects.create(text="of the first")
            pk = alice.pk
            alice.delete()
            self.assertEqual(UserDatabase.objects.get(user_key=str(pk)).state, "deleted")
            with use_user(get_user_model().objects.create_user("alice", pk=pk)):
                self.assertEqual(texts(), [])

        def test_durable_block_of_the_users_own(self) -> None:
            alice = create("alice")
            with use_user(alice), transaction.atomic(using=Note.objects.db, durable=True):
                Note.objects.create(text="x")

    run(Tests)


@pytest.mark.parametrize("ambient", [True, False])
def test_test_case__user_is_deleted_while_another_is_active(*, ambient: bool) -> None:
    class Tests(TestCase):
        alice: User
        bob: User

        @classmethod
        def setUpTestData(cls) -> None:
            cls.alice, cls.bob = create("alice"), create("bob")
            with use_user(cls.bob):
                Note.objects.create(text="his")

        def test_by_somebody_else(self) -> None:
            with use_user(self.alice), self.assertNumQueries(4):
                self.bob.delete()

        def test_by_an_operator_in_the_admin(self) -> None:
            root = get_user_model().objects.create_superuser("root")
            self.client.force_login(root)
            page = f"/admin/auth/user/{self.bob.pk}/delete/"
            self.assertEqual(self.client.post(page, {"post": "yes"}).status_code, 302)
            self.assertFalse(User.objects.filter(username="bob").exists())

        def test_by_somebody_who_changes_their_mind(self) -> None:
            with self.assertRaises(ZeroDivisionError), use_user(self.alice), transaction.atomic():
                User.objects.get(pk=self.bob.pk).delete()
                raise ZeroDivisionError
            with use_user(self.bob):
                self.assertEqual(texts(), ["his"])

    with override_settings(DSUD_TEST_AMBIENT_USER=ambient):
        run(Tests, Tests)


def test_test_case__user_with_the_key_of_one_who_was_deleted_starts_clean() -> None:
    carol = create("carol")  # Her database is a file.
    with use_user(carol):
        Note.objects.create(text="hers")

    class Tests(TestCase):
        bob: User

        @classmethod
        def setUpTestData(cls) -> None:
            cls.bob = create("bob")
            for user in (cls.bob, carol):
                with use_user(user):
                    Note.objects.create(text="for all")

        def replace(self, user: User) -> None:
            pk = user.pk
            User.objects.get(pk=pk).delete()
            again = get_user_model().objects.create_user(f"another{pk}", pk=pk)
            with use_user(again):
                self.assertEqual(texts(), [])
                Note.objects.create(text="of the new one")

        def change(self) -> None:
            with use_user(self.bob):
                self.assertEqual(texts(), ["for all"])
            with use_user(carol):
                self.assertEqual(texts(), ["hers", "for all"])
            self.replace(self.bob)
            with use_user(create("another")):
                self.replace(carol)

        def test_third__with_files_of_the_earlier_one(self) -> None:
            dave = create("dave")
            (engine().files_directory(user_key(dave)) / "secret").touch()
            pk = dave.pk
            dave.delete()
            again = get_user_model().objects.create_user("again", pk=pk)
            self.assertEqual(list(engine().files_directory(user_key(again)).iterdir()), [])

        test_first = test_second = change

    run(Tests)
    with use_user(carol):
        assert texts() == ["hers"]


@pytest.mark.parametrize("opened", [False, True])
def test_test_case__file_of_an_earlier_user_is_as_it_was_after_the_test(*, opened: bool) -> None:
    bob = create("bob")
    key = user_key(bob)
    with use_user(bob):
        Note.objects.create(text="before")

    class Tests(TestCase):
        def test_first__user_has_the_same_key(self) -> None:
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                get_user_model()._base_manager.filter(pk=bob.pk)._raw_delete("default")
                eve = get_user_model().objects.create(pk=bob.pk, username="eve")
                with use_user(eve):
                    self.assertEqual(texts(), [])
                    Note.objects.create(text="hers")
                raise ZeroDivisionError
            with use_user(bob):
                self.assertEqual(texts(), ["before"])

        def test_second__nothing_is_left(self) -> None:
            self.assertTrue(engine().exists(key))
            with use_user(bob):
                self.assertEqual(texts(), ["before"])

    if opened:  # By an operator's code, outside of any block.
        Note.objects.using(alias_of(key)).count()
    assert (connections[alias_of(key)].connection is not None) is opened
    run(Tests)
    with use_user(bob):
        assert texts() == ["before"]


def test_test_case__commands_find_the_databases_of_its_users() -> None:
    class Tests(TestCase):
        alice: User

        @classmethod
        def setUpTestData(cls) -> None:
            cls.alice = create("alice")
            with use_user(cls.alice):
                Note.objects.create(text="hers")
            User.objects.bulk_create([User(username="bob")])

        def call(self, *arguments: str) -> str:
            output = io.StringIO()
            call_command(*arguments, stdout=output)
            return output.getvalue()

        def test_show(self) -> None:
            key = user_key(self.alice)
            (row,) = json.loads(self.call("show_user_dbs", "--json"))
            self.assertEqual((row["user"], row["state"], row["size"]), (key, "ready", None))

        def test_migrate(self) -> None:
            for option in ("--plan", "--check"):
                self.assertIn("0 of 1 user databases", self.call("migrate_user_dbs", option))
            self.assertIn("1 of 1 user databases", self.call("migrate_user_dbs", "--no-input"))
            with use_user(self.alice):
                self.assertEqual(texts(), ["hers"])

        def test_create(self) -> None:
            self.assertIn("1 of 1 user databases made", self.call("create_user_db", "--all"))
            self.assertIn("0 of 0 user databases made", self.call("create_user_db", "--all"))
            self.assertEqual(len(list(fleet.for_each(lambda key: texts()))), 2)
            with self.assertRaisesMessage(CommandError, "has a database already"):
                self.call("create_user_db", "--user", "alice")

        def test_run(self) -> None:
            self.assertIn('"hers"', self.call("run_on_user_dbs", "dumpdata", "notes"))
            outcomes = fleet.for_each(lambda key: texts())
            self.assertEqual([outcome.result for outcome in outcomes], [["hers"]])

    run(Tests)


def test_test_case__constraints_of_user_databases_are_checked_at_its_end() -> None:
    class Tests(TestCase):
        def test_link_to_nothing(self) -> None:
            with use_user(create("alice")):
                Note.tags.through.objects.create(note_id=1, tag_id=2)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Tests).run(result)
    ((_, problem),) = result.errors
    assert IntegrityError.__name__ in problem
    assert "notes_note_tags" in problem


def test_test_case__asynchronous_tests_and_requests() -> None:
    class Tests(TestCase):
        async def test_queries(self) -> None:
            alice = await get_user_model().objects.acreate(username="alice")
            async with use_user(alice):
                await Note.objects.acreate(text="hers")
                self.assertEqual([note.text async for note in Note.objects.all()], ["hers"])
            with self.assertRaises(SynchronousOnlyOperation):
                Note.objects.count()

        async def test_client(self) -> None:
            alice = await get_user_model().objects.acreate(username="alice")
            await self.async_client.aforce_login(alice)
            response = await self.async_client.get("/anotes/")
            self.assertEqual(response.status_code, 200)

    run(Tests)


# Flushed


def test_transaction_test_case__leaves_nothing() -> None:
    class Tests(TransactionTestCase):
        def use(self) -> None:
            self.assertEqual(list(engine().keys()), [])
            alice = get_user_model().objects.create_user("alice", pk=1)
            with use_user(alice):
                self.assertEqual(texts(), [])
                Note.objects.create(text="hers")
            self.assertEqual(list(engine().keys()), ["1"])

        test_first = test_second = use

    class Plain(TestCase):
        def test_new_user_of_the_same_key(self) -> None:
            with use_user(get_user_model().objects.create_user("alice", pk=1)):
                self.assertEqual(texts(), [])

    run(Tests, Plain, Tests)
    assert list(engine().keys()) == []


@override_settings(USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS=[{"id": 7, "username": "seven"}])
def test_transaction_test_case__finds_the_enrolled_users_each_time() -> None:
    testing.start_afresh()

    class Tests(TransactionTestCase):
        def use(self) -> None:
            self.assertEqual(get_user_model().objects.get().username, "seven")
            with use_user(7):
                self.assertEqual(texts(), [])
                Note.objects.create(text="x")

        test_first = test_second = use

    run(Tests)
    testing.withdraw_users()


def test_transaction_test_case__serialized_rollback() -> None:
    create("from a migration")
    connection = connections["default"]
    connection._test_serialized_contents = serializers.serialize("json", User.objects.all())
    try:

        class Tests(TransactionTestCase):
            serialized_rollback = True

            def use(self) -> None:
                user = get_user_model().objects.get(username="from a migration")
                with use_user(user):
                    self.assertEqual(texts(), [])
                    Note.objects.create(text="x")

            test_first = test_second = use

        run(Tests)
    finally:
        del connection._test_serialized_contents
        get_user_model().objects.all().delete()


def test_fixtures__bring_users_whose_databases_are_ready(tmp_path: Path) -> None:
    alice = create("alice")
    data = tmp_path / "people.json"
    data.write_text(serializers.serialize("json", [alice]))
    pk = alice.pk
    alice.delete()

    class Tests(TestCase):
        fixtures = (str(data),)

        def use(self) -> None:
            with use_user(pk):
                self.assertEqual(texts(), [])
                Note.objects.create(text="x")

        test_first = test_second = use

    class Flushed(Tests, TransactionTestCase):
        pass

    run(Tests, Flushed)


def test_live_server__serves_each_user_from_another_thread() -> None:
    class Tests(LiveServerTestCase):
        def test_it(self) -> None:
            with use_user(create("alice")):
                Note.objects.create(text="hers")
            with urlopen(f"{self.live_server_url}/nothing/") as answer:
                self.assertEqual(answer.status, 200)

    run(Tests)


# Queries


def test_num_queries__default_and_user_databases_count_together() -> None:
    class Tests(testing.UserDatabaseTestMixin, TestCase):
        def test_them(self) -> None:
            alice, bob = create("alice"), create("bob")
            with self.assertNumQueries(3), use_user(alice):
                Note.objects.create(text="hers")
                Book.objects.create(title="x")
                texts()
            with self.assertNumQueries(0):
                create_nothing = None
            del create_nothing
            with self.assertNumUserQueries(1, alice):
                with use_user(bob):
                    texts()
                with use_user(alice):
                    texts()
            self.assertNumUserQueries(2, alice, lambda: [run_as(alice), run_as(alice)])
            with self.assertNumQueries(4), use_user(alice), transaction.atomic():
                Note.objects.create(text="a savepoint of default counts, but not the user's")
                texts()

        def test_blocks_that_only_the_user_has_count_as_before(self) -> None:
            with use_user(create("alice")):
                with self.assertNumQueries(4):  # Django opens a savepoint around the INSERT.
                    Note.objects.get_or_create(text="new")
                with self.assertNumQueries(1):
                    Note.objects.get_or_create(text="new")
                with self.assertNumQueries(6), transaction.atomic():
                    Note.objects.get_or_create(text="newer")
                with self.assertNumQueries(3), transaction.atomic(using=active_alias()):
                    texts()

        def test_sign_up_counts_as_before(self) -> None:
            with self.assertNumQueries(1):
                get_user_model().objects.create(username="alice")

        def test_order(self) -> None:
            alice = create("alice")
            with CaptureQueriesContext(connections["default"]) as queries, use_user(alice):
                Book.objects.count()
                Note.objects.count()
                Book.objects.count()
            tables = [query["sql"].split('"')[-2] for query in queries]
            self.assertEqual(tables, ["library_book", "notes_note", "library_book"])

    def run_as(user: User) -> list[str]:
        with use_user(user):
            return texts()

    run(Tests)


def test_simple_test_case__may_not_use_user_databases() -> None:
    class Tests(SimpleTestCase):
        def test_query(self) -> None:
            with (
                use_user(1),
                self.assertRaisesMessage(DatabaseOperationForbidden, "SimpleTestCase"),
            ):
                Note.objects.count()

    run(Tests)


def test_callbacks__none_of_ours_are_captured() -> None:
    provisioned = []

    def receive(*, user_key: str, **kwargs: object) -> None:
        provisioned.append(user_key)

    user_database_provisioned.connect(receive)

    class Tests(TestCase):
        def setUp(self) -> None:
            provisioned.clear()

        def test_them(self) -> None:
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                alice = create("alice")
                with use_user(alice):
                    Note.objects.create(text="x")
                transaction.on_commit(lambda: None)
            self.assertEqual(len(callbacks), 1)
            self.assertEqual(provisioned, [user_key(alice)])

        def test_of_one_user(self) -> None:
            alice = create("alice")
            alias = alias_of(user_key(alice))
            with use_user(alice), self.captureOnCommitCallbacks(using=alias) as callbacks:
                Note.objects.create(text="x")
                transaction.on_commit(lambda: None, using=alias)
            self.assertEqual(len(callbacks), 1)

    run(Tests)


# Who stands in


def test_ambient__first_user_who_is_created_then_who_logs_in() -> None:
    class Tests(TestCase):
        def test_nobody(self) -> None:
            with self.assertRaises(NoActiveUser):
                Note.objects.count()

        def test_first(self) -> None:
            alice, bob = create("alice"), create("bob")
            Note.objects.create(text="of alice")
            self.assertEqual(current_user_id(), alice.pk)
            self.client.force_login(bob)
            self.assertEqual(texts(), [])
            with use_user(alice):
                self.assertEqual(texts(), ["of alice"])
                self.assertEqual(current_user_id(), alice.pk)
            self.client.logout()
            self.assertEqual(current_user_id(), bob.pk)

        def test_operators_name_an_alias(self) -> None:
            _, bob = create("alice"), create("bob")
            self.assertEqual(Note.objects.using(alias_of(user_key(bob))).count(), 0)

        async def test_asynchronous(self) -> None:
            alice = await get_user_model().objects.acreate(username="alice")
            await Note.objects.acreate(text="hers")
            bob = await get_user_model().objects.acreate(username="bob")
            await self.async_client.aforce_login(bob)
            self.assertEqual(await Note.objects.acount(), 0)
            async with use_user(alice):
                self.assertEqual(await Note.objects.acount(), 1)

    class Flushed(TransactionTestCase):
        def test_nobody(self) -> None:
            with self.assertRaises(NoActiveUser):
                Note.objects.count()
            create("alice")
            self.assertEqual(texts(), [])

    run(Tests, Flushed, Flushed)


def test_ambient__of_a_class_stays_for_its_tests() -> None:
    class Tests(TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            create("alice")
            Note.objects.create(text="hers")

        def test_first(self) -> None:
            self.client.force_login(create("bob"))
            self.assertEqual(texts(), [])

        def test_second(self) -> None:
            self.assertEqual(texts(), ["hers"])

    run(Tests)


def test_ambient__instance_goes_to_where_it_came_from() -> None:
    class Tests(TestCase):
        def test_them(self) -> None:
            alice, bob = create("alice"), create("bob")
            with use_user(bob):
                note = Note.objects.create(text="of bob")
                tag = Tag.objects.create(name="of bob")
            note.text = "still of bob"
            note.save()
            note.tags.add(tag)
            note.refresh_from_db()
            self.assertEqual(note.tags.get(), tag)
            self.assertEqual(current_user_id(), alice.pk)
            self.assertEqual(Note.objects.count(), 0)
            note.delete()
            with use_user(bob):
                self.assertEqual(texts(), [])

    run(Tests)


def test_ambient__new_row_goes_to_the_user_of_its_one_key() -> None:
    class Tests(TestCase):
        def test_them(self) -> None:
            alice, bob = create("alice"), create("bob")
            book = Book.objects.create(title="Emma")
            loans = [
                Loan.objects.get_or_create(book=book, reader=bob, defaults={})[0],
                Loan.objects.create(book=book, reader=bob),
                Loan.objects.create(book=book, reader_id=bob.pk),
                *Loan.objects.bulk_create([Loan(book=book, reader=bob)]),
            ]
            loan = Loan(book=book, reader=bob)
            loan.save()
            self.assertEqual(Loan.objects.count(), 0)
            for each in (*loans, loan):
                self.assertEqual(each._state.db, alias_of(user_key(bob)))
            self.assertEqual(Loan.objects.filter(reader=bob).count(), 5)
            self.assertEqual(Loan.objects.filter(reader__in=[bob]).count(), 5)
            self.assertEqual(Loan.objects.filter(reader__in=[alice, bob]).count(), 0)
            self.assertEqual(bob.loan_set.count(), 5)

    run(Tests)


def test_ambient__never_inside_a_request() -> None:
    class Tests(TestCase):
        def test_visitor(self) -> None:
            create("alice")
            Note.objects.create(text="hers")
            self.client.raise_request_exception = False
            self.assertEqual(self.client.get("/notes/").status_code, 403)

        async def test_visitor_async(self) -> None:
            await get_user_model().objects.acreate(username="alice")
            self.async_client.raise_request_exception = False
            response = await self.async_client.get("/anotes/")
            self.assertEqual(response.status_code, 403)

    run(Tests)


@override_settings(DSUD_TEST_AMBIENT_USER=False)
def test_ambient__switched_off() -> None:
    class Tests(TestCase):
        def test_nobody(self) -> None:
            alice = create("alice")
            self.client.force_login(alice)
            with self.assertRaises(NoActiveUser):
                Note.objects.count()
            with self.assertRaises(NoActiveUser):
                Note.objects.create(text="x")
            self.assertIsNone(current_user_id())

    run(Tests)


def test_ambient__is_gone_after_the_tests() -> None:
    create("alice")
    testing.uninstall()
    with pytest.raises(NoActiveUser):
        Note.objects.count()


# What tests import


def test_client__runs_requests_outside_of_the_tests_block() -> None:
    class Tests(testing.UserDatabaseTestMixin, TestCase):
        def test_them(self) -> None:
            alice, bob = self.create_users(2)
            with self.as_user(alice):
                Note.objects.create(text="hers")
                self.client.force_login(bob)
                self.assertNotContains(self.client.get("/notes/"), "hers")
                self.assertEqual(current_user_id(), alice.pk)
                self.client.raise_request_exception = False
                self.client.logout()
                self.assertEqual(self.client.get("/notes/").status_code, 403)

    run(Tests)


def test_factories__make_users_with_databases() -> None:
    class Tests(TestCase):
        def test_them(self) -> None:
            alice = testing.create_user("alice", email="a@example.com")
            self.assertEqual((alice.username, alice.email), ("alice", "a@example.com"))
            self.assertFalse(alice.has_usable_password())
            names = {user.username for user in testing.create_users(3, is_staff=True)}
            self.assertEqual(len(names), 3)

        @override_settings(DSUD_PROVISION=[])
        def test_whatever_the_settings_provision(self) -> None:
            with use_user(testing.create_user()):
                self.assertEqual(texts(), [])

    class Flushed(Tests, TransactionTestCase):
        pass

    run(Tests, Flushed)


def test_assert_isolated__passes_for_a_user_model() -> None:
    class Tests(testing.UserDatabaseTestMixin, TestCase):
        def test_them(self) -> None:
            self.assertIsolated(Note, views=["/notes/", "/anotes/", "/stream/"])
            testing.assert_isolated(
                Note, create=lambda text: Note.objects.create(text=f"of {text}"), views=["/notes/"]
            )
            self.create_user("who is there before")
            testing.assert_isolated(Tag)

    class Flushed(Tests, TransactionTestCase):
        pass

    run(Tests, Flushed)


def texts_of(user: User) -> list[str]:
    with use_user(user):
        return texts()


def shows_all(request: HttpRequest, pk: int) -> HttpResponse:
    """Break the promise: a view that becomes one user after the other."""
    return HttpResponse("\n".join(text for user in User.objects.all() for text in texts_of(user)))


def to_active(model: type, row: object, *, reads: bool) -> str | None:
    """Break the router: it does not look whose an object is."""
    return active_alias() if is_user_model(model) else None


def test_assert_isolated__finds_out() -> None:
    class Tests(TestCase):
        def test_shared_model(self) -> None:
            with self.assertRaisesMessage(AssertionError, "library.Book is no user model"):
                testing.assert_isolated(Book)

        def test_view(self) -> None:
            urlconf = ModuleType("urlconf")
            urlconf.urlpatterns = [path("all/<int:pk>/", shows_all)]
            with override_settings(ROOT_URLCONF=urlconf):
                with self.assertRaisesMessage(AssertionError, "/ shows another user's row."):
                    testing.assert_isolated(Note, views=["/all/{pk}/"])

        def test_guard_that_is_gone(self) -> None:
            with mock.patch("dsud.router._database_for", to_active):
                with self.assertRaisesMessage(AssertionError, "A row was saved while another"):
                    testing.assert_isolated(Note)

        def test_one_database_for_all(self) -> None:
            alias = alias_of(user_key(create("all")))

            def to_one(model: type, row: object, *, reads: bool) -> str | None:
                return alias if is_user_model(model) else None

            with (
                mock.patch("dsud.router._database_for", to_one),
                mock.patch("dsud.guards.refuse_cursor"),
                mock.patch("dsud.results.refuse_unless_active"),
                mock.patch("dsud.guards._refuse_query"),
                mock.patch.object(Hooks, "before_cursor_use", None),
                self.assertRaisesMessage(AssertionError, "Another user finds the rows"),
            ):
                testing.assert_isolated(Note)

        def test_model_that_cannot_be_made_up(self) -> None:
            with self.assertRaisesMessage(TypeError, "Pass `create`"):
                testing.assert_isolated(Loan)

    run(Tests)


# Out of reach


def test_location__is_the_runs_own_and_no_other_is_opened(tmp_path: Path) -> None:
    assert engine().location.is_relative_to(testing.directory())
    assert testing.directory().is_relative_to(scratch.root())
    with override_settings(USER_DATABASES={"default": {"LOCATION": "/srv/site/user_databases"}}):
        with pytest.raises(InvalidEngine, match=r"A test may not open user databases in /srv"):
            engine()
    inside = testing.directory() / "elsewhere"
    with override_settings(USER_DATABASES={"default": {"LOCATION": inside}}):
        assert engine().location == inside


def test_location__of_a_worker_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = testing.directory()
    monkeypatch.setattr(scratch, "_directory", before)
    monkeypatch.setattr(scratch, "_worker", 0)
    monkeypatch.setattr(scratch, "_pid", 1)
    monkeypatch.setattr("django.test.runner._worker_id", 2)
    mine = testing.directory()
    assert (mine.parent, mine.name.split("-")[0]) == (before.parent, str(os.getpid()))


def test_location__of_a_process_that_a_test_forks_is_the_same() -> None:
    before = testing.directory()
    release()
    if (child := os.fork()) == 0:
        os._exit(testing.directory() != before)
    assert os.waitpid(child, 0)[1] == 0


def test_in_tests__not_while_another_thread_imports_djangos_test_utils(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    incomplete = ModuleType("django.test.utils")
    incomplete.__spec__ = mock.Mock(_initializing=True)
    assert in_tests()
    monkeypatch.setitem(sys.modules, "django.test.utils", incomplete)
    assert not in_tests()
