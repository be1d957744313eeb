"""Processes that fork while user databases are open: nobody's rows are lost, nobody waits for ever."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connections, transaction

from dsud import use_user
from dsud.connections import alias_of, release
from dsud.context import user_key
from dsud.engines import engine
from dsud.engines.sqlite.connection import Handle
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import PoolError
from dsud.pool import pool
from tests.leasing import connection_of, in_thread, people, texts, working_on, write
from tests.notes.models import Note
from tests.scripts import run_script

pytestmark = pytest.mark.django_db(transaction=True)

READ_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print([text for (text,) in connection.execute("SELECT text FROM notes_note ORDER BY id")])
connection.close()
"""


def in_child(function: Callable[[], None]) -> int:
    """Run a function in a forked child and return its exit status: 0 when it raised nothing."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            function()
            status = 0
        except BaseException:  # noqa: BLE001, because a child must never run on as the test suite
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read_in_another_process(user: User) -> str:
    """Read the notes as a stranger would, who deletes the -wal when nobody else holds a lock."""
    path = engine().path_of(user_key(user))
    command = [sys.executable, "-c", READ_AND_CLOSE, path]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def integrity(user: User) -> str:
    with closing(sqlite3.connect(engine().path_of(user_key(user)))) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


def test_fork__what_the_child_writes_is_not_lost() -> None:
    """With an inherited connection SQLite thinks that the child has locks, which it has not."""
    (alice,) = people(1)
    connection_of(alice).ensure_connection()
    to_parent, to_child = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            with use_user(alice):
                Note.objects.create(text="by the child")
                os.write(to_parent[1], b".")
                os.read(to_child[0], 1)
                Note.objects.create(text="by the child, later")
            status = 0
        finally:
            os._exit(status)
    os.read(to_parent[0], 1)
    release()
    pool.close_idle()
    assert read_in_another_process(alice) == "['person0', 'by the child']"
    os.write(to_child[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    for descriptor in (*to_parent, *to_child):
        os.close(descriptor)
    assert texts(alice) == ["person0", "by the child", "by the child, later"]
    assert integrity(alice) == "ok"


def test_fork__inside_a_transaction_belongs_to_the_parent() -> None:
    (alice,) = people(1)
    alias = alias_of(user_key(alice))

    def try_everything() -> None:
        with pytest.raises(DatabaseError):
            Note.objects.using(alias).create(text="in the parent's block")
        assert connections[alias].connection is None
        block.__exit__(None, None, None)
        with pytest.raises(UserDatabaseUnavailable) as raised:
            write(alice, "after the block")
        assert str(raised.value) == (
            f"The database of user '{user_key(alice)}' cannot be opened."
            " It was in use when this process was forked, so SQLite cannot lock it here."
            " Fork outside of transactions and requests, or start a fresh process (spawn)."
        )
        assert (pool.slots, pool.leased) == (0, 0)

    block = transaction.atomic(using=alias)
    block.__enter__()
    Note.objects.using(alias).create(text="by the parent")
    assert in_child(try_everything) == 0
    block.__exit__(None, None, None)

    assert texts(alice) == ["person0", "by the parent"]
    assert read_in_another_process(alice) == "['person0', 'by the parent']"
    assert integrity(alice) == "ok"


def test_fork__while_another_thread_is_in_a_transaction() -> None:
    alice, bob = people(2)

    def use_both() -> None:
        assert texts(bob) == ["person1"]
        with pytest.raises(UserDatabaseUnavailable, match="in use when this process was forked"):
            texts(alice)

    begun, done = threading.Event(), threading.Event()

    def stay_in_a_transaction() -> None:
        with working_on(alice) as connection:
            connection.cursor().execute("INSERT INTO notes_note (text) VALUES ('by the thread')")
            begun.set()
            done.wait(30)
            connection.commit()

    thread = threading.Thread(target=stay_in_a_transaction)
    thread.start()
    assert begun.wait(10)
    try:
        assert in_child(use_both) == 0
    finally:
        done.set()
        thread.join()
    assert texts(alice) == ["person0", "by the thread"]


def test_fork__inside_a_request_leaves_the_parent_as_it_was() -> None:
    (alice,) = people(1)
    with use_user(alice):
        first = Note.objects.get()
        assert in_child(lambda: write(alice, "by the child")) == 0
        assert Note.objects.earliest("pk") == first
        assert Note.objects.count() == 2
    assert pool.leased == 0


def test_fork__waits_for_a_thread_inside_the_pool() -> None:
    people(1)
    order = []
    inside = threading.Event()

    def stay_inside() -> None:
        with pool._lock:
            inside.set()
            time.sleep(0.2)
            order.append("left the pool")

    thread = threading.Thread(target=stay_inside)
    thread.start()
    assert inside.wait(5)
    child = os.fork()
    if child == 0:
        os._exit(0)
    order.append("forked")
    os.waitpid(child, 0)
    thread.join()
    assert order == ["left the pool", "forked"]


class Opened(Exception):
    """Raised by the child of a test instead of opening a database."""


def opens() -> Handle:
    raise Opened


def test_fork__while_threads_work_hard() -> None:
    """The child opens nothing: another thread may have been inside SQLite itself at the fork."""
    users = people(3)
    stop = threading.Event()

    def work(user: User) -> list[str]:
        rounds = []
        while not stop.is_set():
            rounds.append(str(len(rounds)))
            write(user, rounds[-1])
        return rounds

    def lease_all() -> None:
        assert (pool.slots, pool.leased) == (0, 0)
        with pytest.raises(Opened):
            pool.lease(engine().pool_key(user_key(users[2])), connection_of(users[2]), opens)
        for user in users[:2]:
            with pytest.raises((Opened, PoolError)):
                pool.lease(engine().pool_key(user_key(user)), connection_of(user), opens)
        assert (pool.slots, pool.leased) == (0, 0)

    with ThreadPoolExecutor(2) as executor:
        futures = [executor.submit(work, user) for user in users[:2]]
        try:
            statuses = [in_child(lease_all) for _ in range(15)]
        finally:
            stop.set()
    assert statuses == [0] * 15
    for user, future in zip(users, futures, strict=False):
        assert texts(user) == [user.username, *future.result()]
        assert integrity(user) == "ok"


CHILD_EXITS_IN_GOOD_ORDER = """
import os, sys
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from dsud import use_user
from dsud.engines import engine
from dsud.engines.sqlite.connection import Handle
from tests.notes.models import Note

user = get_user_model().objects.create_user("alice")
alias = f"user_{user.pk}"
wal = engine().path_of(str(user.pk)).with_name("db.sqlite3-wal")
with use_user(user):
    Note.objects.create(text="before")
with transaction.atomic(using=alias):
    Note.objects.using(alias).create(text="inside")
    child = os.fork()
    if child == 0:
        connections[alias].close()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert wal.exists(), "the child took the -wal away"
with use_user(user):
    Note.objects.create(text="after")
    print(list(Note.objects.order_by("pk").values_list("text", flat=True)))
"""


def test_fork__child_that_exits_in_good_order_leaves_the_wal(tmp_path) -> None:
    assert (
        run_script(CHILD_EXITS_IN_GOOD_ORDER, directory=tmp_path)
        == "['before', 'inside', 'after']\n"
    )


def test_thread_of_a_fork__parent_is_not_slowed_by_what_was_closed() -> None:
    (alice,) = people(1)
    assert in_child(lambda: None) == 0
    assert (pool.slots, pool.leased) == (0, 0)
    assert in_thread(lambda: texts(alice)) == ["person0"]
    assert pool.slots == 1
