"""What is there and pending in the registry is registered by the next process that makes a database."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test.utils import CaptureQueriesContext

from dsud import models as registry
from dsud import pending, provisioning
from dsud.context import use_user
from dsud.engines import engine
from dsud.exceptions import UserDatabaseUnavailable
from dsud.models import UserDatabase
from tests.notes.models import Note
from tests.sites import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

State = UserDatabase.State


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Let this process have made no database yet."""
    pending._done.clear()
    yield
    pending._done.clear()


def sign_up(name: str) -> str:
    return str(User.objects.create(username=name).pk)


def pending_again(*keys: str) -> None:
    """Take back that databases are registered, as a loss of power may."""
    UserDatabase.objects.filter(user_key__in=keys).update(state=State.PENDING, schema="")
    pending._done.clear()


def states() -> dict[str, tuple[str, str]]:
    rows = UserDatabase.objects.values_list("user_key", "state", "schema")
    return {key: (state, schema) for key, state, schema in rows}


def test_sign_up__registers_what_is_there_and_pending() -> None:
    lost, here, gone = (sign_up(name) for name in ("lost", "here", "gone"))
    pending_again(lost, here, gone)
    registry.mark_deleted(gone)
    engine().path_of(lost).unlink()
    new = sign_up("new")
    found = states()
    assert found[here] == ("ready", "")  # So that whoever migrates all looks at it.
    assert found[lost] == ("pending", "")
    assert found[gone] == ("deleted", "")
    assert found[new][0] == "ready"


def test_sign_up__database_that_is_lost_later_is_an_error_and_never_made_anew() -> None:
    key = sign_up("here")
    pending_again(key)
    sign_up("new")
    engine().path_of(key).unlink()
    missing = pytest.raises(UserDatabaseUnavailable, match="registered but its file is missing")
    with missing, use_user(key):
        Note.objects.count()
    assert engine().path_of(key) is None


def test_sign_up__looks_once_in_a_process() -> None:
    first = sign_up("first")
    UserDatabase.objects.update(state=State.PENDING, schema="")
    sign_up("second")
    assert states()[first] == ("pending", "")


def test_sign_up__does_not_count_among_a_projects_queries() -> None:
    pending_again(sign_up("earlier"))
    with CaptureQueriesContext(connections["default"]) as queries:
        sign_up("new")
    assert [query["sql"].split(" ")[0] for query in queries] == ["INSERT"]


def test_register__looks_at_the_newest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [sign_up(f"user{number}") for number in range(3)]
    pending_again(*keys)
    monkeypatch.setattr(pending, "MOST", 2)
    pending.register()
    assert [states()[key][0] for key in keys] == ["pending", "ready", "ready"]


def test_register__user_who_is_deleted_meanwhile_stays_so() -> None:
    key = sign_up("here")
    pending_again(key)

    def exists(user_key: str) -> bool:
        registry.mark_deleted(user_key)
        return True

    with mock.patch.object(type(engine()), "exists", side_effect=exists):
        pending.register()
    assert states()[key] == ("deleted", "")


def test_sign_up__is_not_kept_back_by_what_cannot_be_registered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = UserDatabaseUnavailable("7", "out of reach")
    with (
        mock.patch.object(pending, "register", side_effect=error),
        caplog.at_level(logging.WARNING, logger="dsud"),
    ):
        key = sign_up("new")
    assert states()[key][0] == "ready"
    assert [record.message for record in caplog.records] == [
        "Pending databases could not be registered."
    ]


# How durably


def test_register__waits_for_the_disk_only_where_nothing_is_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []
    put = registry.put

    def noted(key: str, *, durably: bool = True, **values: object) -> bool:
        told.append((values["state"], durably))
        return put(key, durably=durably, **values)

    monkeypatch.setattr(registry, "put", noted)
    sign_up("new")
    assert told == [("pending", True), ("ready", False)]
    told.clear()
    (user,) = User.objects.bulk_create([User(username="bulk")])
    provisioning.provide(str(user.pk))  # Nobody could tell that this one was there.
    assert told == [("ready", True)]


@pytest.mark.parametrize(
    "repair",
    [
        'User.objects.create(pk=9, username="next")',
        'call_command("migrate_user_dbs", verbosity=0)',
    ],
    ids=["sign-up", "deploy"],
)
def test_loss_of_power__takes_back_that_databases_are_ready_and_nothing_else(
    tmp_path: Path, repair: str
) -> None:
    site = Site(tmp_path)
    site.run('call_command("migrate", verbosity=0)')
    durable = json.loads(
        site.run(
            """
from dsud import models as registry
from tests.notes.models import Note
raw = connections["default"]
raw.ensure_connection()
raw.connection.execute("PRAGMA synchronous = FULL")
User.objects.create(pk=7, username="earlier")
sizes, levels = [], []
put = registry.put
def noted(key, *, durably=True, **values):
    # What was committed until now is on the disk.
    sizes.append(os.stat(os.environ["DSUD_TEST_DIR"] + "/default.sqlite3-wal").st_size)
    return put(key, durably=durably, **values)
def leveled(execute, sql, *rest):
    if "INSERT INTO dsud_userdatabase" in sql:
        levels.extend(raw.connection.execute("PRAGMA synchronous").fetchone())
    return execute(sql, *rest)
registry.put = noted
with raw.execute_wrapper(leveled), transaction.atomic():
    User.objects.create(pk=8, username="last")
with use_user(8):
    Note.objects.create(text="mine")
with raw.execute_wrapper(leveled):
    put("9", state="pending")
# FULL when it is promised, NORMAL when it is there, and FULL again.
assert levels == [2, 1, 2], levels
assert raw.connection.execute("PRAGMA synchronous").fetchone() == (2,)
print(sizes[-1])
sys.stdout.flush()
os._exit(0)
"""
        )
    )
    with (tmp_path / "default.sqlite3-wal").open("r+b") as log:
        log.truncate(durable)
    (tmp_path / "default.sqlite3-shm").unlink()
    site.run(
        """
from dsud import fleet
from tests.notes.models import Note
def states():
    return dict(UserDatabase.objects.values_list("user_key", "state"))
assert states() == {"7": "ready", "8": "pending"}, states()
assert User.objects.filter(pk=8).exists()
assert sorted(fleet.keys()) == ["7", "8"]
exec(sys.argv[1])
assert states()["8"] == "ready", states()
with use_user(8):
    assert [note.text for note in Note.objects.all()] == ["mine"]
""",
        repair,
    )
