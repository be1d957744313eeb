"""One database is born exactly once, for the right user, and a rollback leaves nothing."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.contrib.auth.models import User
from django.db import OperationalError, connections, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from dsud import engines, provisioning, retirement
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.engines.sqlite import files
from dsud.exceptions import (
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)
from dsud.models import UserDatabase
from dsud.signals import user_database_deleted, user_database_provisioned
from tests.notes.models import Note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

names = (f"user{number}" for number in itertools.count())


class Boom(Exception):
    """What goes wrong in the middle of a transaction."""


def sign_up(**values: object) -> User:
    return User.objects.create(username=next(names), **values)


def write(user: object, text: str) -> None:
    with use_user(user):
        Note.objects.create(text=text)


def texts(user: object) -> list[str]:
    with use_user(user):
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


def state_of(user: object) -> str | None:
    rows = UserDatabase.objects.filter(user_key=str(getattr(user, "pk", user)))
    return rows.values_list("state", flat=True).first()


def on_disk(location: Path) -> list[str]:
    """Return what lies in users' directories."""
    return sorted(
        str(path.relative_to(location).as_posix()).partition("/")[2]
        for path in location.glob("??/*/*")
    )


@pytest.fixture(autouse=True)
def nothing_stays_staged() -> Iterator[None]:
    """Make sure that no test leaves a database half-born."""
    yield
    assert dict(engines.engine().staged) == {}


# At sign-up and at first use


def test_sign_up__makes_the_database_when_it_is_committed(location: Path) -> None:
    with transaction.atomic():
        user = sign_up()
        assert state_of(user) == "pending"
        assert on_disk(location) == []
    assert state_of(user) == "ready"
    assert on_disk(location) == [f"{user.pk}/1"]
    assert texts(user) == []


def test_sign_up__without_a_transaction() -> None:
    user = sign_up()
    assert state_of(user) == "ready"
    row = UserDatabase.objects.get()
    assert (row.user_key, row.last_error, str(row)) == (str(user.pk), "", str(user.pk))
    assert row.migrated is not None


def test_sign_up__two_saves_make_one(location: Path) -> None:
    user = sign_up()
    user.first_name = "Alice"
    user.save()
    assert UserDatabase.objects.count() == 1
    assert on_disk(location) == [f"{user.pk}/1"]


def test_sign_up__in_manual_transactions_waits_for_first_use(location: Path) -> None:
    connection = connections["default"]
    connection.set_autocommit(False)
    try:
        user = sign_up()
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert (state_of(user), on_disk(location)) == ("pending", [])
    assert texts(user) == []
    assert state_of(user) == "ready"


def test_first_use__of_users_who_were_created_in_bulk(location: Path) -> None:
    users = User.objects.bulk_create([User(username=next(names)) for _ in range(3)])
    assert (UserDatabase.objects.count(), on_disk(location)) == (0, [])
    write(users[1], "x")
    assert on_disk(location) == [f"{users[1].pk}/1"]
    assert state_of(users[1]) == "ready"
    assert texts(users[1]) == ["x"]


def test_first_use__of_bulk_created_users_in_the_transaction(location: Path) -> None:
    with transaction.atomic():
        (user,) = User.objects.bulk_create([User(username=next(names))])
        write(user, "x")
        assert (state_of(user), texts(user)) == ("pending", ["x"])
    assert (state_of(user), texts(user)) == ("ready", ["x"])
    assert on_disk(location) == [f"{user.pk}/1"]


def test_first_use__of_an_existing_user_in_a_transaction(location: Path) -> None:
    (user,) = User.objects.bulk_create([User(username=next(names))])
    with transaction.atomic():
        write(user, "x")
    assert texts(user) == ["x"]
    with pytest.raises(Boom), transaction.atomic():
        write(user, "y")
        raise Boom
    assert texts(user) == ["x"]


@pytest.mark.parametrize("provision", [("first_use",), ["first_use"]])
def test_provision_setting__first_use_only(
    settings: pytest_django.Settings, location: Path, provision: object
) -> None:
    settings.DSUD_PROVISION = provision
    user = sign_up()
    assert (state_of(user), on_disk(location)) == (None, [])
    assert texts(user) == []
    assert state_of(user) == "ready"


def test_provision_setting__sign_up_only(settings: pytest_django.Settings, location: Path) -> None:
    settings.DSUD_PROVISION = ("sign_up",)
    user = sign_up()
    assert texts(user) == []
    (other,) = User.objects.bulk_create([User(username=next(names))])
    with pytest.raises(UserDatabaseDoesNotExist) as caught:
        texts(other)
    assert str(caught.value) == (
        f"User '{other.pk}' has no database, and DSUD_PROVISION does not make one at first use."
        f" Make it with `manage.py create_user_db --user {other.pk}`."
    )
    assert on_disk(location) == [f"{user.pk}/1"]


def test_provision_setting__sign_up_only_and_it_fails(
    settings: pytest_django.Settings, location: Path
) -> None:
    settings.DSUD_PROVISION = ("sign_up",)
    with full_disk(), pytest.raises(UserDatabaseUnavailable):
        sign_up()
    user = User.objects.get()
    assert state_of(user) == "pending"
    assert texts(user) == []  # Because it was promised at sign-up.


def test_provision_setting__nothing(settings: pytest_django.Settings, location: Path) -> None:
    settings.DSUD_PROVISION = ()
    user = sign_up()
    with pytest.raises(UserDatabaseDoesNotExist, match="DSUD_PROVISION does not make one"):
        texts(user)
    assert (state_of(user), location.exists()) == (None, False)
    provisioning.provision(str(user.pk))
    assert texts(user) == []


# Who may have one


@pytest.mark.parametrize("key", ["4711", "-1", "9" * 30])
def test_first_use__nobody_has_this_key(location: Path, key: str) -> None:
    with pytest.raises(UserDatabaseDoesNotExist) as caught:
        texts(key)
    assert str(caught.value) == (
        f"There is no user {key!r}, so no database was made. Save the user first."
    )
    assert not location.exists()


@pytest.mark.parametrize("spelling", ["0{}", " {}", "+{}", "x{}", "{}.0"])
def test_first_use__alias_that_is_not_how_we_write_a_key(location: Path, spelling: str) -> None:
    user = sign_up()
    before = on_disk(location)
    with pytest.raises(UserDatabaseDoesNotExist, match=r"^There is no user"):
        Note.objects.using(alias_of(spelling.format(user.pk))).count()
    assert on_disk(location) == before


# What is missing is never made anew


def lose(user: User) -> None:
    path = engines.engine().path_of(str(user.pk))
    connections[alias_of(str(user.pk))].close()
    path.unlink()


@pytest.mark.parametrize("in_transaction", [False, True])
def test_missing__file_of_a_registered_user_is_never_made_anew(
    location: Path, in_transaction: bool
) -> None:
    user, other = sign_up(), sign_up()
    lose(user)
    before = sorted(location.rglob("*"))
    with pytest.raises(UserDatabaseUnavailable) as caught:
        if in_transaction:
            with transaction.atomic():
                texts(user)
        else:
            texts(user)
    message = str(caught.value)
    assert message == (
        f"The database of user '{user.pk}' is registered but its file is missing."
        " Bring its disk or its backup back; nothing was made in its place."
        " If it is lost for good, make an empty one with"
        f" `manage.py create_user_db --user {user.pk} --lost`."
    )
    with pytest.raises(UserDatabaseUnavailable) as caught:
        provisioning.provision(str(user.pk))
    assert str(caught.value) == message
    assert sorted(location.rglob("*")) == before
    assert texts(other) == []

    provisioning.provision(str(user.pk), lost=True)
    assert texts(user) == []


def test_missing__lost_mount_makes_nothing(
    location: Path, settings: pytest_django.Settings
) -> None:
    user = sign_up()
    (bulk,) = User.objects.bulk_create([User(username=next(names))])
    connections[alias_of(str(user.pk))].close()
    location.rename(location.with_name("elsewhere"))
    location.mkdir()

    with pytest.raises(UserDatabaseUnavailable, match="registered but its file is missing"):
        texts(user)
    with pytest.raises(UserDatabaseUnavailable) as caught:
        texts(bulk)
    assert str(caught.value) == (
        f"No database was made for user '{bulk.pk}', because the location of user databases has"
        " lost those that are registered. Is it mounted?"
    )
    with pytest.raises(UserDatabaseUnavailable), transaction.atomic():
        texts(bulk)
    late = sign_up()
    assert state_of(late) == "pending"
    user_key = str(user.pk)
    user.delete()
    assert list(location.iterdir()) == []

    location.rmdir()
    location.with_name("elsewhere").rename(location)
    assert texts(late) == texts(bulk) == []
    assert state_of(user_key) == "deleted"


def test_missing__deleted_database_is_not_made_at_first_use(location: Path) -> None:
    user = sign_up()
    UserDatabase.objects.update(state="deleted")
    retirement.retire(str(user.pk))
    with pytest.raises(UserDatabaseDoesNotExist) as caught:
        texts(user)
    assert str(caught.value) == (
        f"The database of user '{user.pk}' was deleted."
        f" Make a new one with `manage.py create_user_db --user {user.pk}`."
    )
    provisioning.provision(str(user.pk))
    assert (state_of(user), texts(user)) == ("ready", [])


def test_missing__just_made_by_somebody_else_is_not(location: Path) -> None:
    """Between finding no file and asking the registry, another process may have finished."""
    user = sign_up()
    path_of = engines.engine().path_of
    with mock.patch.object(engines.engine(), "path_of", side_effect=[None, path_of(str(user.pk))]):
        assert texts(user) == []


# Rolled back


def used_by_instance(user: User) -> None:
    write(user, "ghost")


def used_by_key(user: User) -> None:
    write(user.pk, "ghost")


def used_in_an_open_block(user: User) -> None:
    with transaction.atomic(using=alias_of(str(user.pk))):
        Note.objects.using(alias_of(str(user.pk))).create(text="ghost")


def not_used(user: User) -> None:
    pass


@pytest.mark.parametrize("use", [not_used, used_by_instance, used_by_key, used_in_an_open_block])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_rollback__leaves_nothing_and_the_key_is_issued_again(
    location: Path, use: Callable[[User], None], depth: int
) -> None:
    kept = []  # As an error page, a log or a debugger keeps them.
    with ExitStack() as around:
        for _ in range(depth):
            around.enter_context(transaction.atomic())
        try:
            with transaction.atomic():
                ghost = User.objects.create(pk=70, username="ghost")
                use(ghost)
                raise Boom
        except Boom as error:
            kept.append(error)
        assert on_disk(location) == []
        assert state_of(70) is None
        user = User.objects.create(pk=70, username="alice")
        assert texts(user) == []
        write(user, "mine")
        assert texts(user) == ["mine"]
    assert texts(user) == ["mine"]
    assert on_disk(location) == ["70/1"]
    assert (len(kept), state_of(user)) == (1, "ready")


def test_rollback__of_the_innermost_of_many_levels(location: Path) -> None:
    with transaction.atomic():
        first = sign_up()
        write(first, "kept")
        with transaction.atomic():
            second = sign_up()
            with pytest.raises(Boom), transaction.atomic(), transaction.atomic():
                third = sign_up()
                write(third, "ghost")
                write(second, "gone, because it was written at the depth that failed")
                raise Boom
            write(second, "kept, too")
        assert len(on_disk(location)) == 2
    assert (texts(first), texts(second)) == (["kept"], ["kept, too"])
    assert on_disk(location) == sorted([f"{first.pk}/1", f"{second.pk}/1"])
    assert UserDatabase.objects.count() == 2


def test_rollback__retry_in_one_request_keeps_what_the_second_try_wrote(location: Path) -> None:
    """A retry issues the same key inside the same outer transaction."""
    with transaction.atomic():
        for attempt in range(3):
            try:
                with transaction.atomic():
                    user = User.objects.create(pk=71, username="alice")
                    write(user, f"attempt {attempt}")
                    if attempt < 2:
                        raise Boom
            except Boom:
                continue
    assert texts(user) == ["attempt 2"]
    assert on_disk(location) == ["71/1"]


def test_rollback__of_a_savepoint_lets_the_rest_be_committed(location: Path) -> None:
    with transaction.atomic():
        other = sign_up()
        with pytest.raises(Boom), transaction.atomic():
            write(sign_up(), "ghost")
            raise Boom
    assert User.objects.get() == other
    assert on_disk(location) == [f"{other.pk}/1"]


def test_rollback__because_the_commit_itself_fails(location: Path) -> None:
    with (
        pytest.raises(OperationalError),
        mock.patch.object(connections["default"], "_commit", side_effect=OperationalError),
        transaction.atomic(),
    ):
        write(sign_up(), "ghost")
    assert on_disk(location) == []
    assert User.objects.count() == 0


def test_rollback__after_staging_failed_half_way(location: Path) -> None:
    kept = []
    try:
        with transaction.atomic():
            user = sign_up()
            with mock.patch("dsud.models.write", side_effect=Boom):
                texts(user)
    except Boom as error:
        kept.append(error)
    assert on_disk(location) == []
    user = sign_up(pk=user.pk)
    with mock.patch.object(files, "LOCK_WAIT", 0.01):  # The lock is not kept by the exception.
        assert texts(user) == []


# Keys that are issued again


def test_issued_again__after_the_user_was_deleted(location: Path) -> None:
    user = sign_up()
    write(user, "earlier")
    key = user.pk
    user.delete()
    again = sign_up(pk=key)
    assert texts(again) == []
    assert on_disk(location) == [f"{key}/1.deleted", f"{key}/2"]
    assert state_of(again) == "ready"


def test_issued_again__inside_a_block_of_the_earlier_user(location: Path) -> None:
    """The thread still has the earlier user's file open."""
    user = sign_up()
    key = user.pk
    with use_user(user):
        Note.objects.create(text="earlier")
        user.delete()
        sign_up(pk=key)
        assert list(Note.objects.all()) == []
        Note.objects.create(text="mine")
    assert texts(key) == ["mine"]


@pytest.mark.parametrize("provision", [("sign_up", "first_use"), ("first_use",), ()])
def test_issued_again__after_default_was_replaced(
    settings: pytest_django.Settings,
    location: Path,
    provision: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    user = sign_up()
    write(user, "earlier")
    connections["default"].cursor().execute("DELETE FROM dsud_userdatabase")
    connections["default"].cursor().execute("DELETE FROM auth_user")
    settings.DSUD_PROVISION = provision

    with caplog.at_level(logging.WARNING, "dsud"):
        again = sign_up(pk=user.pk)
    assert caplog.messages == [
        "A new user was given a key whose database exists; it goes to the trash."
    ]
    assert f"{user.pk}/1.deleted" in on_disk(location)
    if provision:
        assert texts(again) == []
    else:
        with pytest.raises(UserDatabaseDoesNotExist):
            texts(again)


@pytest.mark.parametrize("provision", [("sign_up", "first_use"), ("first_use",), ()])
def test_issued_again__after_the_row_was_deleted_behind_our_back(
    settings: pytest_django.Settings, provision: tuple[str, ...]
) -> None:
    user = sign_up()
    write(user, "earlier")
    connections["default"].cursor().execute("DELETE FROM auth_user")
    settings.DSUD_PROVISION = provision
    again = sign_up(pk=user.pk)
    if provision:
        assert texts(again) == []
    else:
        assert state_of(again) is None


def test_issued_again__sign_up_that_is_rolled_back_has_the_old_file_in_the_trash(
    location: Path,
) -> None:
    """Nobody owned it, so nobody misses it, and it must not wait for the commit."""
    user = sign_up()
    write(user, "earlier")
    connections["default"].cursor().execute("DELETE FROM auth_user")
    with pytest.raises(Boom), transaction.atomic():
        sign_up(pk=user.pk)
        assert on_disk(location) == [f"{user.pk}/1.deleted"]
        raise Boom
    assert on_disk(location) == [f"{user.pk}/1.deleted"]


@pytest.mark.parametrize("fails", [False, True])
def test_issued_again__by_the_transaction_that_deletes_the_user(
    location: Path, fails: bool
) -> None:
    user = sign_up()
    key = user.pk
    write(user, "earlier")
    try:
        with transaction.atomic():
            user.delete()
            again = sign_up(pk=key)
            assert texts(again) == []
            write(again, "mine")
            if fails:
                raise Boom
    except Boom:
        assert texts(key) == ["earlier"]
        assert on_disk(location) == [f"{key}/1"]
    else:
        assert texts(key) == ["mine"]
        assert on_disk(location) == [f"{key}/1.deleted", f"{key}/2"]
    assert state_of(key) == "ready"


def test_issued_again__in_a_transaction_that_used_the_earlier_file(location: Path) -> None:
    user = sign_up()
    key = user.pk
    with use_user(user), transaction.atomic():
        Note.objects.create(text="earlier")
        user.delete()
        sign_up(pk=key)
        assert list(Note.objects.all()) == []
        Note.objects.create(text="mine")
    assert texts(key) == ["mine"]
    assert on_disk(location) == [f"{key}/1.deleted", f"{key}/2"]


def test_issued_again__twice_in_one_transaction(location: Path) -> None:
    with transaction.atomic():
        for text in ("first", "second", "third"):
            user = sign_up(pk=72)
            assert texts(user) == []
            write(user, text)
            if text != "third":
                user.delete()
    assert texts(72) == ["third"]
    assert on_disk(location) == ["72/1"]
    assert state_of(72) == "ready"


def test_issued_again__file_of_a_deleted_user_that_a_killed_process_left(location: Path) -> None:
    """Killed between the commit of the deletion and the move to the trash."""
    user = sign_up()
    key = user.pk
    write(user, "earlier")
    with mock.patch("dsud.lifecycle.delete"):
        user.delete()
    assert (state_of(key), on_disk(location)) == ("deleted", [f"{key}/1"])
    again = sign_up(pk=key)
    assert texts(again) == []


# At commit


def test_commit__publishes_before_other_callbacks_and_although_they_fail(location: Path) -> None:
    seen = []

    def fail() -> None:
        seen.append(on_disk(location))
        raise Boom

    with pytest.raises(Boom), transaction.atomic():
        transaction.on_commit(fail)
        user = sign_up()
        write(user, "welcome")
    assert seen == [[f"{user.pk}/1"]]
    assert texts(user) == ["welcome"]
    assert state_of(user) == "ready"


def test_commit__disk_that_fails_in_the_last_moment(location: Path) -> None:
    with (
        mock.patch.object(files, "publish", side_effect=OSError(5, "Input/output error")),
        pytest.raises(UserDatabaseUnavailable) as caught,
        transaction.atomic(),
    ):
        user = sign_up()
        write(user, "lost")
    assert str(caught.value) == (
        f"The database of user '{user.pk}' cannot be made: [Errno 5] Input/output error."
        " Mend the cause; its next use makes it."
    )
    assert on_disk(location) == []
    with mock.patch.object(files, "LOCK_WAIT", 0.01):  # The exception does not keep the lock.
        assert texts(user) == []


def test_commit__user_signed_up_and_deleted_in_one_transaction(location: Path) -> None:
    for use in (True, False):
        with transaction.atomic():
            user = sign_up()
            key = user.pk
            if use:
                write(user, "x")
            user.delete()
        assert state_of(key) == "deleted"
        assert not engines.engine().exists(str(key))


def test_commit__user_deleted_by_another_while_the_database_is_made(location: Path) -> None:
    stage = engines.engine().stage

    def stage_and_delete(key: str, fingerprint: str, **options: object) -> object:
        UserDatabase.objects.update(state="deleted")
        return stage(key, fingerprint, **options)

    with mock.patch.object(engines.engine(), "stage", stage_and_delete):
        user = sign_up()
    assert state_of(user) == "deleted"
    assert on_disk(location) == [f"{user.pk}/1.deleted"]


def test_commit__connection_goes_on_with_the_published_file(location: Path) -> None:
    with use_user(sign_up()), transaction.atomic():
        user = sign_up()
        with use_user(user):
            Note.objects.create(text="before")
    with use_user(user):
        Note.objects.create(text="after")
    path = engines.engine().path_of(str(user.pk))
    assert path.parent.name == "1"
    assert texts(user) == ["before", "after"]


def test_sign_up__in_a_test_case_waits_for_no_commit(location: Path) -> None:
    atomics = TestCase._enter_atomics()
    try:
        with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
            user = sign_up()
            write(user, "x")
            User.objects.get(pk=user.pk).delete()
        assert callbacks == []
    finally:
        TestCase._rollback_atomics(atomics)
    assert not engines.engine().exists(str(user.pk))
    assert engines.engine().staged_here(str(user.pk)) is None


# Together


def test_provision__refuses_where_there_is_one(location: Path) -> None:
    user = sign_up()
    write(user, "x")
    with pytest.raises(UserDatabaseAlreadyExists) as caught:
        provisioning.provision(str(user.pk))
    assert str(caught.value) == (f"User '{user.pk}' has a database already; it was left as it is.")
    assert texts(user) == ["x"]


def test_provision__in_a_transaction_waits_for_the_commit(location: Path) -> None:
    (user,) = User.objects.bulk_create([User(username=next(names))])
    with pytest.raises(Boom), transaction.atomic():
        provisioning.provision(str(user.pk))
        assert texts(user) == []
        with pytest.raises(UserDatabaseAlreadyExists):
            provisioning.provision(str(user.pk))
        raise Boom
    assert on_disk(location) == []
    with transaction.atomic():
        provisioning.provision(str(user.pk))
    assert on_disk(location) == [f"{user.pk}/1"]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_provision__is_locked_out_with_a_typed_error(location: Path, in_transaction: bool) -> None:
    sign_up()
    (user,) = User.objects.bulk_create([User(username=next(names))])
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with engines.engine().lock(str(user.pk)):
            holding.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    block = transaction.atomic() if in_transaction else nullcontext()
    with mock.patch.object(files, "LOCK_WAIT", 0.05), pytest.raises(UserDatabaseUnavailable), block:
        texts(user)
    done.set()
    thread.join()
    assert texts(user) == []


def full_disk() -> AbstractContextManager[object]:
    return mock.patch.object(
        files, "write_durably", side_effect=OSError(28, "No space left on device")
    )


@pytest.mark.parametrize("in_transaction", [False, True])
def test_provision__disk_is_full(location: Path, in_transaction: bool) -> None:
    with full_disk():
        user = sign_up()  # The sign-up itself is done; the log has the error.
        block = transaction.atomic() if in_transaction else nullcontext()
        with pytest.raises(UserDatabaseUnavailable) as caught, block:
            texts(user)
    assert str(caught.value) == (
        f"The database of user '{user.pk}' cannot be made: [Errno 28] No space left on device."
        " Mend the cause; its next use makes it."
    )
    assert on_disk(location) == []
    assert texts(user) == []


def test_signals__are_sent_with_the_key() -> None:
    sent = []

    def provisioned(user_key: str, **kwargs: object) -> None:
        sent.append(("provisioned", user_key))
        write(user_key, "by the receiver")

    def deleted(user_key: str, **kwargs: object) -> None:
        sent.append(("deleted", user_key))

    user_database_provisioned.connect(provisioned)
    user_database_deleted.connect(deleted)
    try:
        user = sign_up()
        key = str(user.pk)
        assert texts(user) == ["by the receiver"]
        user.delete()
    finally:
        user_database_provisioned.disconnect(provisioned)
        user_database_deleted.disconnect(deleted)
    assert sent == [("provisioned", key), ("deleted", key)]


def test_registry__is_never_asked_once_the_database_is_there() -> None:
    user = sign_up()
    with CaptureQueriesContext(connections["default"]) as queries:
        write(user, "x")
        texts(user)
    assert len(queries) == 0


def test_registry__crash_between_publishing_and_registering(location: Path) -> None:
    with mock.patch.object(provisioning, "announce", side_effect=Boom):
        user = sign_up()
    assert state_of(user) == "pending"
    assert texts(user) == []
    with pytest.raises(UserDatabaseAlreadyExists):
        provisioning.provision(str(user.pk))


def test_unsaved_user__has_no_database() -> None:
    with pytest.raises(ValueError, match="it has no primary key; save the user first"):
        use_user(User(username="x"))
