"""What happens to one database when its user comes and goes, through whatever model and command."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction

from dsud import engines, lifecycle
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.exceptions import UserDatabaseDoesNotExist
from dsud.models import UserDatabase
from dsud.signals import user_database_deleted
from tests.notes.models import Note
from tests.sites import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]


class Boom(Exception):
    """What goes wrong in the middle of a transaction."""


def write(user: object, text: str) -> None:
    with use_user(user):
        Note.objects.create(text=text)


def texts(user: object) -> list[str]:
    with use_user(user):
        return list(Note.objects.order_by("pk").values_list("text", flat=True))


def state_of(key: object) -> str | None:
    return UserDatabase.objects.filter(user_key=str(key)).values_list("state", flat=True).first()


def generations(location: Path, key: object) -> list[str]:
    return sorted(path.name for path in location.glob(f"??/{key}/*"))


# Deletion


def delete_instance(user: User) -> None:
    user.delete()


def delete_queryset(user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


def delete_in_transaction(user: User) -> None:
    with transaction.atomic():
        user.delete()


@pytest.mark.parametrize("delete", [delete_instance, delete_queryset, delete_in_transaction])
def test_delete__moves_the_database_to_the_trash(
    location: Path, delete: "lifecycle.Callable[[User], None]"
) -> None:
    alice, bob = User.objects.create(username="alice"), User.objects.create(username="bob")
    write(alice, "hers")
    write(bob, "his")
    key = alice.pk
    sent = []

    def deleted(user_key: str, **kwargs: object) -> None:
        sent.append((user_key, generations(location, user_key)))

    user_database_deleted.connect(deleted)
    try:
        delete(alice)
    finally:
        user_database_deleted.disconnect(deleted)
    assert sent == [(str(key), ["1.deleted"])]
    assert state_of(key) == "deleted"
    assert texts(bob) == ["his"]
    trash = location.glob(f"??/{key}/1.deleted/*")
    assert "db.sqlite3" in {path.name for path in trash}
    with pytest.raises(UserDatabaseDoesNotExist, match="was deleted"):
        texts(key)
    assert generations(location, key) == ["1.deleted"]


def test_delete__takes_the_sidecars_along_in_one_rename(location: Path) -> None:
    user = User.objects.create(username="alice")
    key = user.pk
    renames = []
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        renames.append((path.name, target.name))
        return rename(path, target)

    with use_user(user):
        Note.objects.create(text="x")
        with mock.patch.object(Path, "rename", renamed):
            user.delete()
    assert renames == [("1", "1.deleted")]
    trash = {path.name for path in location.glob(f"??/{key}/1.deleted/*")}
    assert trash == {"db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"}


def test_delete__rolled_back(location: Path) -> None:
    user = User.objects.create(username="alice")
    write(user, "x")
    with pytest.raises(Boom), transaction.atomic():
        User.objects.get().delete()
        assert state_of(user.pk) == "deleted"
        assert texts(user.pk) == ["x"]
        raise Boom
    assert state_of(user.pk) == "ready"
    assert texts(user) == ["x"]
    assert generations(location, user.pk) == ["1"]


def test_delete__who_has_it_open_harms_nobody(location: Path) -> None:
    """A request of the user that is under way in another thread."""
    user = User.objects.create(username="alice")
    key = user.pk
    write(user, "before")
    opened, deleted = threading.Event(), threading.Event()
    seen: list[object] = []

    def request() -> None:
        with use_user(key):
            seen.append(Note.objects.count())
            opened.set()
            deleted.wait(10)
            Note.objects.create(text="after")
            seen.append(Note.objects.count())

    thread = threading.Thread(target=request)
    thread.start()
    opened.wait(10)
    user.delete()
    again = User.objects.create(pk=key, username="alice")
    write(again, "mine")
    deleted.set()
    thread.join()
    assert seen == [1, 2]
    assert texts(again) == ["mine"]
    assert generations(location, key) == ["1.deleted", "2"]


def test_delete__thread_that_comes_back_as_a_user_of_the_same_key(location: Path) -> None:
    """A worker that never leaves its outermost block has been the earlier user before."""
    admin, user = (User.objects.create(username=name) for name in ("admin", "alice"))
    key = user.pk
    used, again = threading.Event(), threading.Event()
    seen: list[object] = []

    def work() -> None:
        with use_user(admin.pk):
            write(key, "earlier")
            used.set()
            again.wait(10)
            seen.append(texts(key))
            write(key, "mine")

    thread = threading.Thread(target=work)
    thread.start()
    used.wait(10)
    user.delete()
    User.objects.create(pk=key, username="alice")
    again.set()
    thread.join()
    assert seen == [[]]
    assert texts(key) == ["mine"]


def test_delete__this_thread_parts_from_the_file(location: Path) -> None:
    user = User.objects.create(username="alice")
    with use_user(user):
        Note.objects.create(text="x")
        user.delete()
        with pytest.raises(UserDatabaseDoesNotExist):
            Note.objects.count()


def test_delete__of_a_user_without_a_database_makes_nothing(
    location: Path, settings: pytest_django.Settings
) -> None:
    settings.DSUD_PROVISION = ()
    user = User.objects.create(username="alice")
    user.delete()
    assert not location.exists()
    assert UserDatabase.objects.count() == 0


def test_delete__one_that_fails_does_not_keep_the_others(location: Path) -> None:
    users = [User.objects.create(username=name) for name in ("a", "b", "c")]
    keys = [user.pk for user in users]
    delete = engines.engine().delete

    def fail_for_one(key: str) -> None:
        if key == str(keys[1]):
            raise OSError(5, "Input/output error")
        delete(key)

    with mock.patch.object(engines.engine(), "delete", fail_for_one):
        User.objects.all().delete()
    assert [generations(location, key) for key in keys] == [["1.deleted"], ["1"], ["1.deleted"]]
    assert [state_of(key) for key in keys] == ["deleted"] * 3
    lifecycle.delete(str(keys[1]))  # What a later attempt does.
    assert generations(location, keys[1]) == ["1.deleted"]


def test_delete__new_user_of_the_same_key_was_faster(location: Path) -> None:
    """The move runs after the commit; by then the key may be another user's."""
    user = User.objects.create(username="alice")
    key = user.pk
    with mock.patch("dsud.lifecycle.delete"):
        user.delete()
    again = User.objects.create(pk=key, username="alice")
    write(again, "mine")
    lifecycle.delete(str(key))
    assert texts(again) == ["mine"]
    assert state_of(key) == "ready"


def test_copy_of_a_user_in_another_database__is_nobody_who_comes_or_goes(location: Path) -> None:
    user = User.objects.create(username="alice")
    write(user, "kept")
    lifecycle.expect_database(instance=user, created=True, using="archive")
    lifecycle.delete_with_user(instance=user, using="archive")
    assert texts(user) == ["kept"]
    assert state_of(user.pk) == "ready"


# Other models of users


@pytest.fixture
def people(settings: pytest_django.Settings, transactional_db: None) -> Iterator[ModuleType]:
    """Install a proxy and two children of the user model."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.people"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    call_command("migrate", "people", verbosity=0)
    from tests.people import models

    yield models
    User.objects.all().delete()
    call_command("migrate", "people", "zero", verbosity=0)


@pytest.mark.parametrize("name", ["Guest", "Editor", "Chief"])
def test_sign_up__through_another_model(people: ModuleType, location: Path, name: str) -> None:
    model = getattr(people, name)
    user = model.objects.create(username="alice")
    assert state_of(user.pk) == "ready"
    write(user, "x")
    assert texts(User.objects.get()) == ["x"]
    key = user.pk
    model.objects.all().delete()
    assert User.objects.count() == 0
    assert (state_of(key), generations(location, key)) == ("deleted", ["1.deleted"])


@pytest.mark.parametrize("name", ["Guest", "Editor", "Chief"])
def test_sign_up__through_another_model_with_a_key_that_is_issued_again(
    people: ModuleType, name: str
) -> None:
    user = User.objects.create(username="alice")
    write(user, "earlier")
    connections["default"].cursor().execute("DELETE FROM auth_user")
    again = getattr(people, name).objects.create(pk=user.pk, username="bob")
    assert texts(again) == []


def promote_by_key(model: type[User], user: User) -> User:
    promoted = model(user_ptr_id=user.pk, username=user.username)
    promoted.save()
    return promoted


def promote_by_copy(model: type[User], user: User) -> User:
    promoted = model(user_ptr_id=user.pk)
    promoted.__dict__.update(user.__dict__)
    promoted.save()
    return promoted


def promote_raw(model: type[User], user: User) -> User:
    promoted = model(user_ptr_id=user.pk)
    promoted.save_base(raw=True)
    return promoted


@pytest.mark.parametrize("promote", [promote_by_key, promote_by_copy, promote_raw])
def test_promoted_user__keeps_the_database(
    people: ModuleType, location: Path, promote: "lifecycle.Callable[..., User]"
) -> None:
    user = User.objects.create(username="alice")
    write(user, "years of work")
    editor = promote(people.Editor, user)
    assert texts(editor) == ["years of work"]
    chief = people.Chief(editor_ptr_id=user.pk)
    chief.__dict__.update(people.Editor.objects.get().__dict__)
    chief.save()
    assert texts(chief) == ["years of work"]

    chief.delete(keep_parents=True)
    people.Editor.objects.get().delete(keep_parents=True)
    assert User.objects.get() == user
    assert texts(user) == ["years of work"]
    assert generations(location, user.pk) == ["1"]
    assert state_of(user.pk) == "ready"


def test_saved_child__is_no_sign_up(people: ModuleType, location: Path) -> None:
    editor = people.Editor.objects.create(username="alice")
    write(editor, "x")
    editor.desk = "sport"
    editor.save()
    again = people.Editor.objects.get()
    again.save()
    assert texts(again) == ["x"]
    assert generations(location, editor.pk) == ["1"]


# Fixtures


def dump(tmp_path: Path, *labels: str) -> Path:
    path = tmp_path / "dump.json"
    call_command("dumpdata", *labels, output=str(path), verbosity=0)
    return path


def forget_everything() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM dsud_userdatabase")
        cursor.execute("DELETE FROM auth_user")


def test_load__whole_site_keeps_the_databases(tmp_path: Path, location: Path) -> None:
    """`default` moves to another server by dumpdata and loaddata; the files stay."""
    users = [User.objects.create(username=name) for name in ("alice", "bob")]
    for user in users:
        write(user, user.username)
    UserDatabase.objects.filter(user_key=users[0].pk).update(id=900)  # Loaded under its own key.
    path = dump(tmp_path, "auth.user", "dsud")
    forget_everything()

    call_command("loaddata", path, verbosity=0)
    assert [texts(user) for user in users] == [["alice"], ["bob"]]
    assert UserDatabase.objects.get(pk=900).user_key == str(users[0].pk)
    assert UserDatabase.objects.filter(state="ready").count() == 2


def test_load__users_alone_never_see_earlier_rows(tmp_path: Path, location: Path) -> None:
    user = User.objects.create(username="alice")
    path = dump(tmp_path, "auth.user")
    write(user, "earlier")
    forget_everything()
    call_command("loaddata", path, verbosity=0)
    assert texts(user) == []
    assert generations(location, user.pk) == ["1.deleted", "2"]


def test_load__new_users_get_theirs(tmp_path: Path, location: Path) -> None:
    path = tmp_path / "users.json"
    fields = {"username": "alice", "password": "!"}
    path.write_text(json.dumps([{"model": "auth.user", "pk": 8, "fields": fields}]))
    call_command("loaddata", path, verbosity=0)
    assert (state_of(8), generations(location, 8)) == ("ready", ["1"])
    call_command("loaddata", path, verbosity=0)
    assert generations(location, 8) == ["1"]


def test_load__children_of_users(people: ModuleType, tmp_path: Path, location: Path) -> None:
    chief = people.Chief.objects.create(username="alice")
    path = dump(tmp_path, "auth.user", "people")
    write(chief, "earlier")
    User.objects.all().delete()
    forget_everything()
    call_command("loaddata", path, verbosity=0)
    assert texts(people.Chief.objects.get()) == []
    assert generations(location, chief.pk or 1)[-1] != "1"


# Users known by a text


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site whose users' names are their keys."""
    directory = tmp_path_factory.mktemp("keyed")
    site = Site(directory, settings="tests.keyed_settings")
    site.run('call_command("migrate", verbosity=0)')
    yield site
    shutil.rmtree(directory)


KEYED = """
from tests.notes.models import Note
from tests.keyed.models import Author
def write(user, text):
    with use_user(user):
        Note.objects.create(text=text)
def texts(user):
    with use_user(user):
        return list(Note.objects.values_list("text", flat=True))
"""


def test_keys__that_are_texts(keyed: Site) -> None:
    keyed.run(
        KEYED
        + """
from dsud.exceptions import InvalidUserKey
names = ["../x", "Bob", "bob", "a.b", "ab", "\\u00e9", "e\\u0301", "con", "1", "01", " ", "/", "x" * 240]
for name in names:
    write(User.objects.create(name=name), "of " + name)
for name in names:
    assert texts(name) == ["of " + name], name
assert sorted(engine().keys()) == sorted(names)
assert {path.parents[2].parent for path in engine().location.glob("??/*/*/db.sqlite3")} == {engine().location}
for name in ["", "x" * 300, "a\\0b", "\\ud800"]:
    try:
        User.objects.create(name=name)
    except (InvalidUserKey, UnicodeEncodeError):
        continue
    raise AssertionError(repr(name))
try:
    texts("y" * 241)
except InvalidUserKey as error:
    assert error.value == "y" * 241
else:
    raise AssertionError
"""
    )


def test_key_that_is_issued_again__to_somebody_of_the_same_name(keyed: Site) -> None:
    keyed.run(
        KEYED
        + """
import itertools
from django.test import override_settings
count = itertools.count()
for provision in (("sign_up", "first_use"), ("first_use",)):
    for make in (User.objects.create, Author.objects.create):
        with override_settings(DSUD_PROVISION=provision):
            name = f"alice{next(count)}"
            for text in ("first", "second", "third"):
                alice = make(name=name)
                assert texts(alice) == [], (provision, text)
                write(alice, text)
                User.objects.filter(name=name).delete()
            assert not engine().exists(name)
"""
    )


def test_key_that_is_issued_again__by_a_promotion_it_is_not(keyed: Site) -> None:
    keyed.run(
        KEYED
        + """
alice = User.objects.create(name="promoted")
write(alice, "kept")
Author.objects.create(person_ptr=alice, name=alice.name)
assert texts(alice) == ["kept"]
Author.objects.get(name="promoted").delete()
assert not User.objects.filter(name="promoted").exists()
assert not engine().exists("promoted")
"""
    )


def test_explicit_alias__of_another_user_is_made_for_nobody_else() -> None:
    user = User.objects.create(username="alice")
    with pytest.raises(UserDatabaseDoesNotExist):
        Note.objects.using(alias_of(f"0{user.pk}")).count()
