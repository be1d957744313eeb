"""What came of each database: told in order, once it is asked for, and as each user."""

import gc
import signal
import threading

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.db.utils import OperationalError
from django.test import TestCase

from dsud import fleet, use_user
from dsud.connections import alias_of
from dsud.context import current_user_id
from dsud.exceptions import FleetFailed
from tests.leasing import texts
from tests.notes.models import Note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


def sign_up(*names: str) -> list[User]:
    return [User.objects.create(username=name) for name in names]


def keys_of(*users: User) -> list[str]:
    return [str(user.pk) for user in users]


def test_for_each__as_each_user_and_past_failures() -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")

    def work(key: str) -> str:
        assert str(current_user_id()) == key
        if key == str(bob.pk):
            raise ZeroDivisionError("for bob")
        return Note.objects.create(text=f"of {key}").text

    running = fleet.for_each(work)
    outcomes = list(running)
    assert [each.user_key for each in outcomes] == keys_of(alice, bob, carol)
    assert [each.result for each in outcomes] == [f"of {alice.pk}", None, f"of {carol.pk}"]
    assert [repr(each.error) for each in outcomes] == [
        "None",
        "ZeroDivisionError('for bob')",
        "None",
    ]
    assert all(0 < each.seconds < 5 for each in outcomes)
    assert current_user_id() is None
    message = (
        "1 user databases failed, all others are done."
        f" Mend the causes and run it again:\n  {bob.pk}: for bob"
    )
    for told in (outcomes, running):  # Whether they are kept or were taken already.
        with pytest.raises(FleetFailed) as caught:
            fleet.raise_failures(told)
        assert str(caught.value) == message
        assert list(caught.value.failures) == keys_of(bob)


def test_for_each__is_done_while_outcomes_are_taken() -> None:
    alice, bob = sign_up("alice", "bob")
    begun: list[str] = []
    outcomes = fleet.for_each(begun.append, iter(keys_of(alice, bob)))
    assert begun == []
    assert next(outcomes).user_key == str(alice.pk)
    assert begun == keys_of(alice)
    outcomes.raise_failures()
    assert begun == keys_of(alice, bob)


def test_for_each__whose_outcomes_nobody_takes_says_that_nothing_was_done() -> None:
    with pytest.warns(RuntimeWarning) as caught:
        forget(fleet.for_each(len, ["1"]))
    assert str(caught[0].message) == (
        "fleet.for_each() was called and its outcomes were not taken, so nothing was done."
        " Iterate over them, or call raise_failures() on them."
    )
    fleet.for_each(len, ["1"]).close()


def forget(outcomes: fleet.Outcomes[int]) -> None:
    del outcomes
    gc.collect()


def test_for_each__key_that_names_no_database_is_that_ones_failure() -> None:
    (alice,) = sign_up("alice")
    outcomes = fleet.for_each(lambda key: key, ["no number", str(alice.pk)])
    assert [each.error is None for each in outcomes] == [False, True]


def test_for_each__nobody() -> None:
    assert list(fleet.for_each(lambda key: key, [])) == []
    fleet.raise_failures([])
    fleet.for_each(len, []).raise_failures()


def test_for_each__interrupted_inside_the_function() -> None:
    sign_up("alice", "bob")

    def interrupt(key: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(fleet.for_each(interrupt))
    assert current_user_id() is None


def test_for_each__ctrl_c_waits_for_the_database_in_hand() -> None:
    alice, bob, _ = sign_up("alice", "bob", "carol")
    done: list[str] = []

    def work(key: str) -> None:
        if key == str(bob.pk):
            signal.raise_signal(signal.SIGINT)
        done.append(Note.objects.create(text=key).text)

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        told.extend(each.user_key for each in fleet.for_each(work))
    assert done == told == keys_of(alice, bob)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_for_each__second_ctrl_c_interrupts_at_once() -> None:
    sign_up("alice")

    def work(key: str) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        Note.objects.create(text="too late")

    with pytest.raises(KeyboardInterrupt):
        list(fleet.for_each(work))
    assert texts(User.objects.get()) == []


def test_for_each__signals_of_somebody_else_stay_theirs() -> None:
    sign_up("alice")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        list(fleet.for_each(lambda key: signal.raise_signal(signal.SIGINT)))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_for_each__in_another_thread() -> None:
    (alice,) = sign_up("alice")
    results: list[object] = []

    def run() -> None:
        results.extend(each.result for each in fleet.for_each(str, keys_of(alice)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == keys_of(alice)


def test_for_each__returns_connections() -> None:
    users = sign_up("alice", "bob", "carol")
    fleet.for_each(lambda key: Note.objects.count()).raise_failures()
    assert [connections[alias_of(key)].connection for key in keys_of(*users)] == [None] * 3


# Reading only


def attempts(key: str) -> dict[str, object]:
    """Try to write in every way, and say what came of it."""

    def refused(sql: str) -> str:
        try:
            with connections[alias_of(key)].cursor() as cursor:
                cursor.execute(sql)
        except Exception as error:  # noqa: BLE001
            return str(error)
        return "done"

    return {
        sql: refused(sql)
        for sql in (
            "INSERT INTO notes_note (text) VALUES ('x')",
            "DELETE FROM notes_note",
            "CREATE TABLE more (id)",
            "PRAGMA user_version = 5",
            "PRAGMA query_only = OFF",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA query_only",
        )
    }


def insert(key: str) -> None:
    with connections[alias_of(key)].cursor() as cursor:
        cursor.execute("INSERT INTO notes_note (text) VALUES ('x')")


def test_read_only__sqlite_refuses_every_change() -> None:
    (alice,) = sign_up("alice")
    ((outcome),) = fleet.for_each(attempts, read_only=True)
    assert outcome.error is None
    readonly = "attempt to write a readonly database"
    assert list(outcome.result.values()) == [
        *[readonly] * 4,
        "not authorized",
        "not authorized",
        "done",
    ]
    # The next one who opens it may write.
    with use_user(alice):
        Note.objects.create(text="hers")
    ((outcome),) = fleet.for_each(lambda key: Note.objects.create(text="x"), read_only=True)
    assert isinstance(outcome.error, OperationalError)
    assert texts(alice) == ["hers"]


def test_read_only__transactions_read() -> None:
    (alice,) = sign_up("alice")
    with use_user(alice):
        Note.objects.create(text="hers")

    def read(key: str) -> list[str]:
        with transaction.atomic():
            return list(Note.objects.values_list("text", flat=True))

    ((outcome),) = fleet.for_each(read, read_only=True)
    assert (outcome.result, outcome.error) == (["hers"], None)


def test_read_only__makes_no_database_where_there_is_none(settings: object) -> None:
    settings.DSUD_PROVISION = ("first_use",)  # type: ignore[attr-defined]
    (alice,) = sign_up("alice")
    ((outcome),) = fleet.for_each(lambda key: Note.objects.count(), keys_of(alice), read_only=True)
    assert str(outcome.error) == (
        f"The database of user '{alice.pk}' was never made."
        f" Make a new one with `manage.py create_user_db --user {alice.pk}`."
    )


def test_read_only__inside_a_block_that_has_the_database_open() -> None:
    (alice,) = sign_up("alice")
    with use_user(alice), transaction.atomic():
        Note.objects.create(text="before")
        ((outcome),) = fleet.for_each(insert, read_only=True)
        assert str(outcome.error) == "attempt to write a readonly database"
        ((outcome),) = fleet.for_each(lambda key: Note.objects.count(), read_only=True)
        assert outcome.result == 1
        Note.objects.create(text="after")
    assert texts(alice) == ["before", "after"]


class InTestCase(TestCase):
    """Databases that only this thread can see."""

    def test_for_each(self) -> None:
        users = sign_up("alice", "bob")
        main = threading.current_thread()

        def work(key: str) -> bool:
            Note.objects.create(text=f"of {key}")
            return threading.current_thread() is main

        for workers in (None, 3, fleet.Threads(2), fleet.Processes(2)):
            outcomes = list(fleet.for_each(work, workers=workers))
            assert [(each.error, each.result) for each in outcomes] == [(None, True)] * 2
        assert texts(users[0]) == [f"of {users[0].pk}"] * 4

        outcomes = list(fleet.for_each(insert, read_only=True))
        assert ["readonly" in str(each.error) for each in outcomes] == [True, True]
        outcomes = list(fleet.for_each(lambda key: Note.objects.count(), read_only=True))
        assert [each.result for each in outcomes] == [4, 4]
