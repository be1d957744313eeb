"""Aliases on demand: resolved for every user, listed for none, and what is kept of them."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_django
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import RAN_DB_VERSION_CHECK, BaseDatabaseWrapper
from django.db.utils import ConnectionDoesNotExist
from django.test.utils import CaptureQueriesContext

from dsud import connections as dsud_connections
from dsud import provisioning, retirement, signals, use_user
from dsud.connections import KEPT_PER_THREAD, alias_of, key_of_alias, release, temporary
from dsud.context import user_key
from dsud.engines import engine
from dsud.exceptions import InvalidUserKey, UserDatabaseDoesNotExist
from dsud.pool import pool
from tests.leasing import connection_of, in_thread, people, texts, working_on, write
from tests.notes.models import Note

pytestmark = pytest.mark.django_db(transaction=True)


def count_calls(function: Callable[[], object]) -> int:
    """Return how many Python functions a call runs, itself included."""
    calls = 0

    def count(frame, event: str, argument) -> None:
        nonlocal calls
        calls += event == "call"

    previous = threading.getprofile() if hasattr(threading, "getprofile") else None
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return calls


# Resolving


def test_alias__of_every_user_resolves_and_none_is_listed(settings) -> None:
    users = people(3)
    for user in users:
        assert connection_of(user).settings_dict["USER_KEY"] == user_key(user)
    assert list(connections) == list(settings.DATABASES) == ["default"]
    assert set(connections.settings) == {"default"}
    assert [connection.alias for connection in connections.all()] == ["default"]
    assert [c.alias for c in connections.all(initialized_only=True)] == ["default"]


@pytest.mark.parametrize("alias", ["other", "users_1", "User_1", "", "dsud_template"])
def test_alias__of_no_user_does_not_exist(alias: str) -> None:
    with pytest.raises(ConnectionDoesNotExist, match=f"'{alias}' doesn't exist"):
        connections[alias]


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        ("user_", "it is empty"),
        ("user_a\0b", "it contains NUL"),
        ("user_\ud800", "it is not valid Unicode"),
        ("user_" + "x" * 300, "its path would need 300 bytes of 240"),
    ],
)
def test_alias__that_can_name_no_database(alias: str, reason: str) -> None:
    with pytest.raises(InvalidUserKey, match=reason):
        connections[alias]


@pytest.mark.parametrize("written", ["0{}", " {}", "+{}", "../{}", "{}/", "{}.0", "x{}"])
def test_alias__of_a_key_in_another_spelling_makes_nothing(written: str) -> None:
    (alice,) = people(1)
    alias = alias_of(written.format(user_key(alice)))
    before = sorted(engine().keys())
    with pytest.raises(UserDatabaseDoesNotExist):
        connections[alias].cursor()
    assert sorted(engine().keys()) == before
    assert pool.leased == 0


def test_alias__and_key_are_each_others_inverse() -> None:
    assert key_of_alias(alias_of("a_b")) == "a_b"
    assert key_of_alias("default") is None


def test_settings__are_complete_and_open_no_transaction_per_request(settings) -> None:
    (alice,) = people(1)
    settings_dict = connection_of(alice).settings_dict
    assert set(connections["default"].settings_dict) <= set(settings_dict)
    assert settings_dict["ATOMIC_REQUESTS"] is False
    assert settings_dict["AUTOCOMMIT"] is True
    assert settings_dict["NAME"] == str(engine().path_of(user_key(alice)))


def test_version_check__remembers_no_alias() -> None:
    RAN_DB_VERSION_CHECK.clear()  # Another engine, in another test, may have left some.
    for user in people(3):
        texts(user)
    assert not [alias for alias in RAN_DB_VERSION_CHECK if alias.startswith("user_")]


# What is kept


def test_kept__per_thread_is_bounded() -> None:
    (alice,) = people(1)
    made = [connections[alias_of(f"{1000 + number}")] for number in range(100)]
    kept = [c for c in made if getattr(connections._connections, c.alias, None) is c]
    assert kept == made[-KEPT_PER_THREAD:]
    assert texts(alice) == ["person0"]


def test_kept__connection_in_use_is_not_dropped() -> None:
    (alice,) = people(1)
    alias = alias_of(user_key(alice))
    with transaction.atomic(using=alias):
        Note.objects.using(alias).create(text="kept")
        connection = connections[alias]
        for number in range(2 * KEPT_PER_THREAD):
            connections[alias_of(f"{1000 + number}")]
        assert connections[alias] is connection
    assert texts(alice) == ["person0", "kept"]


def _drop(made: BaseDatabaseWrapper) -> None:
    """Have this thread drop a connection, because it makes more than it keeps."""
    for number in range(2 * KEPT_PER_THREAD):
        connections[alias_of(f"other{number}")]
    assert not hasattr(connections._connections, made.alias)


def test_kept__what_is_dropped_is_freed_at_once() -> None:
    """Each piled up until Python looked for cycles, which a busy process does seldom."""
    (alice,) = people(1)
    texts(alice)
    gc.collect()
    gc.disable()
    try:
        freed = weakref.ref(connection_of(alice))
        _drop(connection_of(alice))
        assert freed() is None
    finally:
        gc.enable()


def test_kept__what_is_dropped_still_works_for_whoever_has_it() -> None:
    (alice,) = people(1)
    texts(alice)
    mine = connection_of(alice)
    operations = mine.ops
    _drop(mine)
    with use_user(alice), mine.cursor() as cursor:
        cursor.execute(f"SELECT text FROM {operations.quote_name('notes_note')}")
        assert cursor.fetchall() == [("person0",)]
        assert mine.introspection.table_names(cursor)
        with pytest.raises(OperationalError, match="no such table"):
            cursor.execute("SELECT * FROM nowhere")
    mine.close()


def test_threads__have_connections_of_their_own() -> None:
    (alice,) = people(1)
    mine = connection_of(alice)
    assert in_thread(lambda: connection_of(alice)) is not mine
    assert connection_of(alice) is mine


def test_request_signals__cost_the_same_however_many_users_were_served() -> None:
    users = people(30)

    def signal_both() -> None:
        request_started.send(sender=None, environ={})
        request_finished.send(sender=None)

    signal_both()
    few = count_calls(signal_both)
    for user in users:
        texts(user)
    assert len(dsud_connections._kept._aliases) > 20
    assert count_calls(signal_both) == few


def test_request_finished__returns_what_the_thread_has() -> None:
    (alice,) = people(1)
    connection_of(alice).ensure_connection()
    rows = Note.objects.using(alias_of(user_key(alice))).iterator()
    next(rows)
    assert pool.leased == 1
    request_finished.send(sender=None)
    assert pool.leased == 0
    rows.close()


# Working on a leased connection


def test_atomic__on_a_connection_that_another_thread_opened_is_immediate() -> None:
    (alice,) = people(1)
    pool.close_idle()
    in_thread(lambda: texts(alice))
    connection = connection_of(alice).copy()
    assert connection.transaction_mode == "IMMEDIATE"
    alias = alias_of(user_key(alice))
    with working_on(alice) as other, transaction.atomic(using=alias):
        other.commit()
        with pytest.raises(Exception, match="database is locked"):
            other.connection.execute("PRAGMA busy_timeout = 1")
            other.connection.execute("BEGIN IMMEDIATE")


def test_queries__are_counted_over_the_end_of_a_request() -> None:
    (alice,) = people(1)
    with CaptureQueriesContext(connection_of(alice)) as queries:
        texts(alice)
        request_finished.send(sender=None)
        texts(alice)
    assert len(queries) == 2


def test_queries__of_debug_mode_do_not_pile_up(settings) -> None:
    (alice,) = people(1)
    settings.DEBUG = True
    with use_user(alice):
        Note.objects.count()
        assert len(connection_of(alice).queries) == 1
    assert len(connection_of(alice).queries) == 0


def test_on_commit__runs_once_and_only_for_what_is_committed() -> None:
    (alice,) = people(1)
    alias = alias_of(user_key(alice))
    ran = []
    with transaction.atomic(using=alias):
        transaction.on_commit(lambda: ran.append(texts(alice)), using=alias)
        release()
        Note.objects.using(alias).create(text="in the block")
    assert ran == [["person0", "in the block"]]

    connections[alias].set_autocommit(False)
    Note.objects.using(alias).create(text="never committed")
    with transaction.atomic(using=alias):
        transaction.on_commit(lambda: ran.append("lost"), using=alias)
    release()
    with transaction.atomic(using=alias):
        Note.objects.using(alias).create(text="later")
    assert texts(alice) == ["person0", "in the block", "later"]
    assert len(ran) == 1


def test_connect__database_that_is_used_while_it_is_made_loses_no_slot(settings) -> None:
    settings.DSUD_PROVISION = ["first_use"]
    user = get_user_model().objects.create_user("alice")

    def welcome(*, user_key: str, **kwargs) -> None:
        with use_user(user_key):
            Note.objects.create(text="welcome")

    signals.user_database_provisioned.connect(welcome)
    try:
        with use_user(user):
            Note.objects.create(text="first")
    finally:
        signals.user_database_provisioned.disconnect(welcome)
    assert texts(user) == ["welcome", "first"]
    assert pool.leased == 0
    assert pool.slots == len(pool._idle)


def test_connect__database_that_is_made_in_an_open_transaction_loses_no_slot(settings) -> None:
    settings.DSUD_PROVISION = ["first_use"]
    user = get_user_model().objects.create_user("alice")
    for rolls_back in (True, False):
        with transaction.atomic():
            write(user, "not yet published")
            transaction.set_rollback(rolls_back)
        release()
        pool.close_idle()
        assert (pool.slots, pool.leased, pool._slots.databases()) == (0, 0, frozenset())
    assert texts(user) == ["not yet published"]


def test_settings__name_the_file_that_is_open() -> None:
    (alice,) = people(1)
    connection = connection_of(alice)
    retirement.retire(user_key(alice))
    provisioning.provision(user_key(alice), lost=True)
    assert in_thread(lambda: texts(alice)) == []
    assert texts(alice) == []
    assert engine().path_of(user_key(alice)).parent.name == "2"
    assert connection.settings_dict["NAME"] == str(engine().path_of(user_key(alice)))


def test_temporary__is_known_to_this_thread_only_and_gone_afterwards(tmp_path) -> None:
    with temporary("dsud_template", {"NAME": str(tmp_path / "empty.sqlite3")}) as wrapper:
        assert connections["dsud_template"] is wrapper
        with wrapper.cursor() as cursor:
            cursor.execute("CREATE TABLE something (id)")
        with pytest.raises(ConnectionDoesNotExist):
            in_thread(lambda: connections["dsud_template"])
    with pytest.raises(ConnectionDoesNotExist):
        connections["dsud_template"]
    assert pool.leased == 0
    assert wrapper.connection is None


def test_settings__that_name_another_engine_part_from_its_connections(
    alice: User, location: Path, settings: pytest_django.Settings
) -> None:
    alias = alias_of(user_key(alice))
    before = connections[alias]
    settings.USER_DATABASES = {
        "default": {"ENGINE": "tests.flat_engine", "LOCATION": location.parent / "flat"}
    }
    after = connections[alias]
    assert (type(before).__module__, type(after).__module__) == (
        "dsud.engines.sqlite.base",
        "tests.flat_engine.base",
    )
