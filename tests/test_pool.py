"""The pool: what it caps, what it keeps, what it cleans, and that no slot is ever lost."""

import gc
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from unittest import mock

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.db.backends.signals import connection_created

from dsud import pool as pool_module
from dsud import slots, use_user
from dsud.connections import alias_of, release
from dsud.context import user_key
from dsud.engines import engine
from dsud.engines.sqlite.connection import Handle
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import Force
from dsud.pool import pool
from dsud.slots import Slots
from tests.leasing import (
    connection_of,
    in_thread,
    needs_proc,
    open_database_files,
    people,
    texts,
    working_on,
    write,
)
from tests.notes.models import Note
from tests.scripts import run_script

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cap(settings) -> Callable[[int], None]:
    """Return a function that sets the cap, for a pool that starts empty."""

    def set_cap(connections_at_most: int) -> None:
        release()
        pool.close_idle()
        settings.DSUD_MAX_OPEN = connections_at_most

    return set_cap


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long for a connection."""
    monkeypatch.setattr(pool_module, "WAIT", 0.05)
    monkeypatch.setattr(pool_module, "LOOK", 0.02)


@pytest.fixture
def openings() -> Iterator[list[str]]:
    """Collect the aliases of which a connection is really opened."""
    aliases: list[str] = []

    def note(connection, **kwargs) -> None:
        aliases.append(connection.alias)

    connection_created.connect(note)
    yield aliases
    connection_created.disconnect(note)


def path_of(user: User) -> Path:
    return engine().path_of(user_key(user))


def rows_on_disk(user: User) -> list[str]:
    with closing(sqlite3.connect(path_of(user))) as other:
        return [text for (text,) in other.execute("SELECT text FROM notes_note ORDER BY id")]


# The cap


@needs_proc
def test_eviction__of_what_another_thread_opened(cap) -> None:
    users = people(6)
    cap(3)

    in_thread(lambda: [write(user, "from a thread") for user in users])

    assert [texts(user)[1] for user in users] == ["from a thread"] * 6
    assert (pool.slots, pool.leased) == (3, 0)
    assert open_database_files() <= 9


def test_cap__lowered_while_connections_are_open(cap, settings) -> None:
    users = people(6)
    cap(6)
    for user in users:
        texts(user)
    assert pool.slots == 6

    settings.DSUD_MAX_OPEN = 2
    texts(users[0])
    assert pool.slots == 5, "a connection that comes back above the cap is closed"
    texts(users[0])
    assert pool.slots == 2, "a miss makes room down to the cap"


def test_cap__zero_still_lets_one_in(cap) -> None:
    (user,) = people(1)
    cap(0)
    assert texts(user) == ["person0"]
    assert slots.max_open() == 1


@pytest.mark.parametrize(
    ("soft", "expected"), [(1024, 256), (64, 1), (256, 64), (4096, 1024), (-1, 16384)]
)
def test_cap__from_the_limit_of_open_files(soft: int, expected: int) -> None:
    with mock.patch("resource.getrlimit", return_value=(soft, soft)):
        assert slots.max_open() == expected


def test_exhausted__says_what_to_do(cap, impatient: None) -> None:
    alice, bob = people(2)
    cap(1)
    key = user_key(bob)
    with working_on(alice), pytest.raises(UserDatabaseUnavailable) as raised:
        texts(bob)
    assert str(raised.value) == (
        f"The database of user '{key}' cannot be opened. All 1 connections of this process stayed"
        " in use for 0.05 s. Raise DSUD_MAX_OPEN or the limit of open files, or shorten what holds"
        " connections."
    )
    assert raised.value.user_key == key
    assert texts(bob) == ["person1"]
    assert pool.slots == 1


def test_waiting__ends_when_a_connection_comes_back(cap, monkeypatch) -> None:
    monkeypatch.setattr(pool_module, "LOOK", 60)
    alice, bob = people(2)
    cap(1)
    waits = threading.Event()

    def look(self, lease, *, force) -> bool:
        waits.set()
        return False

    with working_on(alice) as connection, ThreadPoolExecutor(1) as executor:
        with mock.patch.object(type(connection), "surrender", look):
            future = executor.submit(texts, bob)
            assert waits.wait(5)
        connection.close()
        assert future.result(10) == ["person1"]


@needs_proc
def test_files__of_closed_siblings_are_counted(cap, impatient: None) -> None:
    """SQLite keeps the file of a closed connection while another one of the process is open."""
    users = people(4)
    cap(6)
    most = 0
    with ExitStack() as until_the_end:
        for user in users:
            with ExitStack() as burst:
                for number in range(5):
                    held = until_the_end if number == 0 else burst
                    try:
                        held.enter_context(working_on(user))
                    except UserDatabaseUnavailable:
                        break
                    most = max(most, open_database_files())
                    assert most <= 18
    assert most > 12
    assert [texts(user) for user in users] == [[user.username] for user in users]
    pool.close_idle()
    assert open_database_files() == 0


def test_slots__count_files_as_sqlite_holds_them() -> None:
    counted = Slots()
    with mock.patch.object(slots, "max_open", return_value=4):
        assert [counted.take("a") for _ in range(3)] == [True] * 3
        assert counted.files == 3 + 3 + 1
        counted.free("a")
        counted.free("a")
        assert (counted.count, counted.files) == (1, 3 + 1 + 1)
        assert [counted.take("b"), counted.take("c"), counted.take("d")] == [True, True, False]
        assert counted.take("a"), "SQLite uses the file of a closed one again"
        assert (counted.count, counted.files) == (4, 3 + 2 + 1 + 3 + 3)
    for database in ("a", "a", "b", "c"):
        counted.free(database)
    assert (counted.count, counted.files, counted.databases()) == (0, 0, frozenset())


OUT_OF_FILES = """
import gc, resource
from django.contrib.auth import get_user_model
from django.conf import settings
from dsud import use_user
from dsud.pool import pool
from tests.notes.models import Note

settings.DSUD_MAX_OPEN = 1000  # A mistake.
users = [get_user_model().objects.create_user(f"person{number}") for number in range(20)]
for user in users:
    with use_user(user):
        Note.objects.create(text=user.username)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
gc.disable()  # So that nothing is closed by luck.
for spare in range(30, 36):  # So that it fails at the database, at the -wal, at the -shm.
    pool.close_idle()
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    before = pool.evictions
    for user in users:
        with use_user(user):
            assert Note.objects.get().text == user.username
    assert pool.evictions > before
    assert 0 < pool.slots < 12 and not pool.leased
print("ok")
"""


def test_files__none_left_for_the_process_costs_an_idle_connection_and_no_error(tmp_path) -> None:
    assert run_script(OUT_OF_FILES, directory=tmp_path) == "ok\n"


def test_files__error_of_a_file_that_cannot_be_opened_says_whose(tmp_path) -> None:
    alice, bob = people(2)
    pool.close_idle(engine().pool_key(user_key(alice)))
    path = path_of(alice)
    path.rename(tmp_path / "aside")
    path.mkdir()
    with pytest.raises(UserDatabaseUnavailable) as raised:
        texts(alice)
    assert str(raised.value) == (
        f"The database of user '{user_key(alice)}' cannot be used: unable to open database file."
        " Look at the file and its permissions, or restore it from a backup."
    )
    assert texts(bob) == ["person1"]
    path.rmdir()
    (tmp_path / "aside").rename(path)
    assert texts(alice) == ["person0"]


@needs_proc
def test_files__failed_opening_leaves_none_open() -> None:
    (alice,) = people(1)
    pool.close_idle()
    log = path_of(alice).with_name("db.sqlite3-wal")
    log.unlink(missing_ok=True)  # It stays behind on Python 3.12 and later.
    log.mkdir()  # So that the database itself is opened, and then no more.
    gc.collect()
    gc.disable()  # So that nothing is closed by luck.
    try:
        with pytest.raises(UserDatabaseUnavailable, match="unable to open database file") as raised:
            texts(alice)
        assert open_database_files() == 0
        assert raised.value.__cause__ is not None  # Kept, with its traceback, until here.
    finally:
        gc.enable()
        log.rmdir()


# Reuse


def test_reuse__opens_nothing_twice(openings: list[str]) -> None:
    alice, bob = people(2)
    pool.close_idle()
    openings.clear()
    for _ in range(3):
        assert [texts(alice), texts(bob)] == [["person0"], ["person1"]]
        assert in_thread(lambda: texts(alice)) == ["person0"]
    assert sorted(openings) == sorted([alias_of(user_key(alice)), alias_of(user_key(bob))])


def test_burst__of_one_user_opens_nothing_twice(openings: list[str]) -> None:
    (alice,) = people(1)
    pool.close_idle()
    openings.clear()

    def burst() -> None:
        with ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(working_on(alice))

    for _ in range(5):
        burst()
    assert len(openings) == 10
    assert pool.slots == 10


def test_eviction__of_what_was_not_used_for_longest(cap, openings: list[str]) -> None:
    users = people(4)
    cap(3)
    for which in (0, 1, 2, 0, 3):
        texts(users[which])
    openings.clear()
    for which in (0, 2, 3, 1):
        texts(users[which])
    assert openings == [alias_of(user_key(users[1]))]


def test_reuse__newest_first_so_that_the_extra_ones_of_a_burst_age_out(cap) -> None:
    alice, bob = people(2)
    cap(3)
    with working_on(alice) as first, working_on(alice) as second:
        extra, newest = second.connection, first.connection
    texts(bob)
    with working_on(alice) as again:
        assert again.connection is newest
    with working_on(alice), working_on(bob), working_on(bob):
        pass  # One of the three must be evicted: the oldest.
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        extra.execute("SELECT 1")
    newest.execute("SELECT 1")


# Clean on return


def test_return__inside_a_transaction_does_not_commit_it() -> None:
    (alice,) = people(1)
    connection = connection_of(alice)
    connection.cursor().execute("BEGIN IMMEDIATE")
    connection.cursor().execute("INSERT INTO notes_note (text) VALUES ('half done')")
    release()
    assert pool.leased == 0

    connection.set_autocommit(True)
    assert rows_on_disk(alice) == ["person0"]
    assert texts(alice) == ["person0"]


def test_return__manual_transactions_do_not_reach_the_next_lease() -> None:
    (alice,) = people(1)
    connection = connection_of(alice)
    connection.set_autocommit(False)
    raw = connection.connection
    release()

    write(alice, "committed at once")
    assert raw.isolation_level is None
    assert rows_on_disk(alice) == ["person0", "committed at once"]


def test_return__half_read_cursor_does_not_keep_its_snapshot() -> None:
    (alice,) = people(1)
    for number in range(5):
        write(alice, f"note {number}")
    alias = alias_of(user_key(alice))
    rows = Note.objects.using(alias).order_by("pk").iterator(chunk_size=1)
    next(rows)
    next(rows)
    raw = connections[alias].connection
    release()

    with use_user(alice), transaction.atomic(using=alias):
        assert connections[alias].connection is raw
        Note.objects.create(text="not committed yet")
        with pytest.raises(ProgrammingError, match="Cannot operate on a closed cursor"):
            list(rows)
    assert rows_on_disk(alice)[-1] == "not committed yet"


@needs_proc
def test_close__half_read_cursor_does_not_keep_the_files() -> None:
    (alice,) = people(1)
    write(alice, "second")
    rows = Note.objects.using(alias_of(user_key(alice))).iterator(chunk_size=1)
    next(rows)
    release()
    pool.close_idle()
    assert open_database_files() == 0
    del rows  # Python must not complain of an exception in a finalizer.
    gc.collect()


def test_return__foreign_keys_that_were_off_are_on_again() -> None:
    (alice,) = people(1)
    connection = connection_of(alice)
    assert connection.disable_constraint_checking()
    release()
    with use_user(alice), connection.cursor() as cursor:
        assert cursor.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_return__connection_that_cannot_be_cleaned_is_closed() -> None:
    (alice,) = people(1)
    connection = connection_of(alice)
    connection.ensure_connection()
    connection.connection.close()  # Behind the pool's back.
    release()
    assert (pool.slots, pool.leased) == (0, 0)
    assert texts(alice) == ["person0"]


# Kept while in use


def test_release__inside_atomic_keeps_the_connection_and_returns_it_later() -> None:
    (alice,) = people(1)
    alias = alias_of(user_key(alice))
    with transaction.atomic(using=alias):
        Note.objects.using(alias).create(text="in the block")
        raw = connections[alias].connection
        release()
        assert connections[alias].connection is raw
        assert pool.leased == 1
    assert rows_on_disk(alice) == ["person0", "in the block"]
    release()
    assert (pool.slots, pool.leased) == (1, 0)


def test_close__inside_atomic_parts_from_the_connection() -> None:
    (alice,) = people(1)
    alias = alias_of(user_key(alice))
    block = transaction.atomic(using=alias)
    block.__enter__()
    Note.objects.using(alias).create(text="lost with the connection")
    connections[alias].close()
    assert pool.leased == 0
    assert connections[alias].connection is None
    assert in_thread(lambda: texts(alice)) == ["person0"]
    with pytest.raises(ProgrammingError, match="Cannot open a new connection in an atomic block"):
        Note.objects.using(alias).create(text="nowhere")
    block.__exit__(None, None, None)
    write(alice, "after")
    assert rows_on_disk(alice) == ["person0", "after"]


def test_iteration__survives_a_block_of_another_user_and_of_the_same() -> None:
    alice, bob = people(2)
    for number in range(3):
        write(alice, f"note {number}")
    seen = []
    for note in Note.objects.using(alias_of(user_key(alice))).iterator(chunk_size=1):
        seen.append(note.text)
        write(bob, note.text)
        write(alice, "while it is read") if len(seen) == 1 else None
    assert seen[:4] == ["person0", "note 0", "note 1", "note 2"]
    assert texts(bob)[1:] == seen


def test_block__closes_what_was_half_read_inside_it() -> None:
    (alice,) = people(1)
    write(alice, "second")
    with use_user(alice):
        rows = Note.objects.iterator(chunk_size=1)
        next(rows)
    assert pool.leased == 0
    with use_user(alice), pytest.raises(ProgrammingError, match="closed cursor"):
        next(rows)


def test_another_thread__cannot_take_what_is_in_use(cap, impatient: None) -> None:
    alice, bob = people(2)
    cap(1)
    alias = alias_of(user_key(alice))

    def refused() -> bool:
        with pytest.raises(UserDatabaseUnavailable):
            in_thread(lambda: texts(bob))
        return True

    with transaction.atomic(using=alias):
        assert refused(), "inside atomic"
    cursor = connections[alias].cursor()
    assert refused(), "with a cursor"
    cursor.close()
    del cursor
    connections[alias].set_autocommit(False)
    assert refused(), "in manual transactions"
    connections[alias].set_autocommit(True)
    with connections[alias].constraint_checks_disabled():
        assert refused(), "while foreign keys are off"
        with connections[alias].cursor() as cursor:
            assert cursor.execute("PRAGMA foreign_keys").fetchone() == (0,)
    del cursor
    connections[alias].close()
    assert in_thread(lambda: texts(bob)) == ["person1"]


def test_another_thread__takes_what_is_idle(cap) -> None:
    alice, bob = people(2)
    cap(1)
    connection = connection_of(alice)
    connection.ensure_connection()
    assert in_thread(lambda: texts(bob)) == ["person1"]
    assert connection.connection is None
    assert texts(alice) == ["person0"]


def test_another_thread__cannot_take_what_is_just_handed_out() -> None:
    (alice,) = people(1)
    taken = []

    make_cursor = Handle.cursor

    def take_meanwhile(self) -> sqlite3.Cursor:
        with ThreadPoolExecutor(1) as executor:
            taken.append(executor.submit(pool._take_from_others).result(5))
        return make_cursor(self)

    with mock.patch.object(Handle, "cursor", take_meanwhile):
        write(alice, "undisturbed")
    assert taken
    assert not any(taken)
    assert rows_on_disk(alice)[-1] == "undisturbed"


def test_another_thread__cannot_take_what_enters_manual_transactions() -> None:
    (alice,) = people(1)
    connection = connection_of(alice)
    taken = []
    enter = type(connection)._set_autocommit

    def enter_while_another_looks(self, autocommit: bool) -> None:
        enter(self, autocommit)
        with ThreadPoolExecutor(1) as executor:
            taken.append(executor.submit(pool._take_from_others).result(5))

    with mock.patch.object(type(connection), "_set_autocommit", enter_while_another_looks):
        connection.set_autocommit(False)
    assert taken == [False]
    Note.objects.using(connection.alias).create(text="to be rolled back")
    connection.rollback()
    connection.set_autocommit(True)
    assert rows_on_disk(alice) == ["person0"]


def test_taking_back__twice_at_once_gives_it_to_one_only() -> None:
    (alice,) = people(1)
    connection = connection_of(alice).copy()
    connection.ensure_connection()
    (lease,) = pool.held()
    del connection
    gc.collect()  # Its borrower is gone, so every thread may have it.
    part = type(lease).part
    first: list[bool] = []

    def part_while_another_does(self, *, force) -> bool:
        if not first:
            first.append(False)
            with ThreadPoolExecutor(1) as executor:
                first[0] = executor.submit(pool._take_back, self, force=force).result(5)
        return part(self, force=force)

    with mock.patch.object(type(lease), "part", part_while_another_does):
        assert pool._take_back(lease, force=Force.CURSORS) is False
    assert first == [True]
    assert [len(handles) for handles in pool._idle_of.values()] == [1]
    assert (pool.slots, pool.leased) == (1, 0)


def test_waiting__ends_when_a_connection_is_closed(cap, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = people(2)
    cap(1)
    # So that a thread that is not told that there is room does not look for it in time.
    monkeypatch.setattr(pool_module, "LOOK", 15.0)
    waits = threading.Event()
    wait = pool._wait

    def tell_and_wait(deadline: float) -> float:
        waits.set()
        return wait(deadline)

    monkeypatch.setattr(pool, "_wait", tell_and_wait)
    with ThreadPoolExecutor(1) as executor, use_user(alice):
        with transaction.atomic(using=alias_of(user_key(alice))):
            read = executor.submit(texts, bob)
            assert waits.wait(10)
        connection_of(alice).disable_constraint_checking()  # So that it is not kept.
        release()
        assert read.result(10) == ["person1"]
    assert pool._waiting == 0


def test_threads__hold_one_connection_after_another(cap) -> None:
    users = people(5)
    for user in users:
        assert Note.objects.using(alias_of(user_key(user))).count() == 1
    assert pool.leased == 1
    assert len(pool.held()) == 1


def test_executor_threads__give_up_what_they_keep(cap) -> None:
    users = people(20)
    cap(4)
    read = sync_to_async(
        lambda user: Note.objects.using(alias_of(user_key(user))).get().text,
        thread_sensitive=False,
    )

    async def all_of_them() -> list[str]:
        return [await read(user) for user in users]

    assert async_to_sync(all_of_them)() == [user.username for user in users]
    assert pool.slots <= 4


def test_threads__that_never_finish_do_not_keep_slots(cap) -> None:
    users = people(6)
    cap(2)
    done = threading.Event()

    def read_and_stay(user: User, ready: threading.Event) -> None:
        Note.objects.using(alias_of(user_key(user))).get()
        ready.set()
        done.wait(30)

    threads = []
    for user in users:
        ready = threading.Event()
        threads.append(threading.Thread(target=read_and_stay, args=[user, ready]))
        threads[-1].start()
        assert ready.wait(5)
        assert pool.slots <= 2
    assert texts(users[0]) == ["person0"]
    done.set()
    for thread in threads:
        thread.join()
    texts(users[0])
    assert pool.leased == 0


def test_thread__that_ends_inside_a_transaction_frees_its_slot_and_its_lock(cap) -> None:
    alice, bob = people(2)
    cap(1)

    def begin_and_end() -> None:
        connection_of(alice).cursor().execute("BEGIN IMMEDIATE")
        connection_of(alice).cursor().execute("INSERT INTO notes_note (text) VALUES ('lost')")

    for _ in range(3):
        in_thread(begin_and_end)
        assert texts(bob) == ["person1"]
    write(alice, "kept")
    assert rows_on_disk(alice) == ["person0", "kept"]
    assert (pool.slots, pool.leased) == (1, 0)


CLOSED_WHILE_IT_IS_READ = """
import sqlite3, threading, time
from concurrent.futures import ThreadPoolExecutor
from django.contrib.auth import get_user_model
from django.db import connections, OperationalError, ProgrammingError
from dsud import use_user
from dsud.pool import pool
from tests.notes.models import Note

alice, bob = (get_user_model().objects.create_user(name) for name in ("alice", "bob"))
for user in (alice, bob):
    with use_user(user):
        Note.objects.create(text=user.username)
SLOW = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i % 9999999 = 1"
for _ in range(3):
    with ThreadPoolExecutor(1) as executor:  # Its thread ends: what it leased is an orphan.
        cursor = executor.submit(
            lambda: connections[f"user_{alice.pk}"].cursor().execute(SLOW)
        ).result()
    assert cursor.fetchone() == (1,)
    with ThreadPoolExecutor(1) as executor:
        row = executor.submit(cursor.fetchone)  # Takes a second or so.
        time.sleep(0.05)
        assert not row.done()
        begun = time.monotonic()
        with use_user(bob):
            assert Note.objects.get().text == "bob"
        assert time.monotonic() - begun < 0.5
        assert isinstance(row.exception(10), sqlite3.OperationalError), row
    try:
        cursor.fetchone()
    except sqlite3.ProgrammingError as error:
        assert "closed cursor" in str(error)
    with use_user(alice):
        assert Note.objects.get().text == "alice"
    assert pool.leased == 0
print("ok")
"""


def test_cursor__closed_while_another_thread_waits_for_its_next_row(tmp_path) -> None:
    assert run_script(CLOSED_WHILE_IT_IS_READ, directory=tmp_path) == "ok\n"


def test_garbage__whose_cursor_is_alive_is_not_taken_by_another_thread() -> None:
    (alice,) = people(1)
    connection = connection_of(alice).copy()
    cursor = connection.create_cursor()
    cursor.execute("SELECT text FROM notes_note UNION ALL VALUES ('second')")
    del connection
    gc.collect()
    assert not in_thread(pool._take_from_others)
    assert cursor.fetchall() == [("person0",), ("second",)]
    release()
    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        cursor.fetchone()


def test_garbage__in_the_middle_of_a_transaction_frees_its_slot(cap) -> None:
    alice, bob = people(2)
    cap(1)
    gc.disable()
    try:
        for _ in range(3):
            connection = connection_of(alice).copy()
            connection.cursor().execute("BEGIN IMMEDIATE")
            del connection  # A reference cycle, which only the collector frees.
            assert in_thread(lambda: texts(bob)) == ["person1"]
    finally:
        gc.enable()
    assert pool.slots == 1


def test_garbage_collection__inside_the_pool_does_not_deadlock(cap) -> None:
    alice, bob = people(2)
    cap(2)

    @use_user(alice)
    def suspended() -> Iterator[int]:
        try:
            yield Note.objects.count()
            yield 0
        finally:
            Note.objects.count()

    generators = []
    real = slots.max_open

    def collects() -> int:
        if seen:
            generators.clear()
        return real()

    def read_while_the_collector_runs() -> None:
        generators.append(suspended())
        seen.append(next(generators[0]))
        pool._slots.limit = 0  # As if the cap were reached, which has it looked at again.
        seen.append(Note.objects.using(alias_of(user_key(bob))).get().text)
        release()

    seen: list[object] = []
    with mock.patch.object(slots, "max_open", collects):
        thread = threading.Thread(target=read_while_the_collector_runs, daemon=True)
        thread.start()
        thread.join(10)
    assert seen == [1, "person1"]
    assert not generators


# The file behind a warm connection


def test_warm_connection__of_a_file_that_is_gone() -> None:
    (alice,) = people(1)
    path_of(alice).unlink()
    for _ in range(3):
        with pytest.raises(UserDatabaseUnavailable, match="registered but its file is missing"):
            texts(alice)
    assert (pool.slots, pool.leased) == (0, 0)


def test_warm_connection__of_a_file_that_was_replaced_is_refused_each_time(tmp_path) -> None:
    (alice,) = people(1)
    path = path_of(alice)
    shutil.copyfile(path, tmp_path / "copy")
    (tmp_path / "copy").rename(path)
    for _ in range(3):
        with pytest.raises(UserDatabaseUnavailable) as raised:
            texts(alice)
    assert str(raised.value) == (
        f"The database file of user '{user_key(alice)}' was replaced while it was open."
        " Stop the site before files are put in place by hand."
    )
    assert (pool.slots, pool.leased) == (1, 0)


def test_warm_connection__of_a_disk_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    (alice,) = people(1)

    def fail(path: Path) -> tuple[int, int]:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("dsud.engines.sqlite.connection._inode", fail)
        for _ in range(3):
            with pytest.raises(UserDatabaseUnavailable, match="looked at: Input/output error"):
                texts(alice)
    assert texts(alice) == ["person0"]
    assert (pool.slots, pool.leased) == (1, 0)


def test_opening__that_fails_frees_its_slot(cap) -> None:
    (alice,) = people(1)
    cap(1)
    path = path_of(alice)
    good = path.read_bytes()
    path.write_bytes(b"not a database" * 100)
    for _ in range(3):
        with pytest.raises(UserDatabaseUnavailable, match="file is not a database"):
            texts(alice)
    assert (pool.slots, pool.leased) == (0, 0)
    path.write_bytes(good)


def test_commit__that_fails_on_a_broken_disk_is_not_tried_again() -> None:
    (alice,) = people(1)
    alias = alias_of(user_key(alice))

    class Broken:
        """A raw connection whose disk fails once, at the commit."""

        def __init__(self, raw: sqlite3.Connection) -> None:
            self.__dict__["raw"] = raw

        def __getattr__(self, name: str) -> object:
            return getattr(self.raw, name)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(self.raw, name, value)

        def commit(self) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    broken = pytest.raises(UserDatabaseUnavailable, match="disk I/O error")
    with broken as raised, transaction.atomic(using=alias):
        Note.objects.using(alias).create(text="reported as lost")
        connections[alias].connection = Broken(connections[alias].connection)
    assert isinstance(raised.value, OperationalError)
    assert rows_on_disk(alice) == ["person0"]
    assert texts(alice) == ["person0"]
