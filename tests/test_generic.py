"""Generic keys of user models lead to the active user's rows, and to shared ones."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connections

from dsud.connections import alias_of
from dsud.context import use_user
from tests.library.models import Book
from tests.notes.models import Note
from tests.sites import Site

pytestmark = pytest.mark.usefixtures("location", "transactional_db")


def test_type__is_looked_up_once_for_all_users(alice: User, bob: User) -> None:
    ContentType.objects.clear_cache()
    found = []
    for user in (alice, bob):
        with use_user(user):
            manager = ContentType.objects.db_manager(alias_of(str(user.pk)))
            found.append(manager.get_for_model(Note))
            with connections["default"].execute_wrapper(refuse):
                assert manager.get_for_id(found[0].pk) == found[0]
    assert found[0] is found[1]
    assert found[0]._state.db == "default"


def refuse(*call: object) -> object:
    raise AssertionError(f"default was asked: {call[1]}")


def test_object__of_a_user_model_is_the_active_users(alice: User, bob: User) -> None:
    for user in (alice, bob):
        with use_user(user):
            Note.objects.create(pk=1, text=f"of {user}")
    note_type = ContentType.objects.get_for_model(Note)
    for user in (alice, bob):
        with use_user(user):
            assert note_type.get_object_for_this_type(pk=1).text == f"of {user}"
            using = alias_of(str(user.pk))
            assert note_type.get_object_for_this_type(using=using, pk=1).text == f"of {user}"


def test_object__of_a_shared_model_is_read_from_default(alice: User) -> None:
    book = Book.objects.create(title="Emma")
    book_type = ContentType.objects.get_for_model(Book)
    with use_user(alice):
        found = book_type.get_object_for_this_type(using=alias_of(str(alice.pk)), pk=book.pk)
    assert found._state.db == "default"
    assert found.title == "Emma"


@pytest.mark.slow
def test_generic_key__of_two_users_with_the_same_primary_keys(tmp_path: Path) -> None:
    site = Site(tmp_path, settings="tests.bazaar_settings")
    found = site.run(
        """
import json
from django.contrib.contenttypes.models import ContentType
from dsud.exceptions import WrongUser
from tests.bazaar.models import Label, Stand, Ware
call_command("migrate", verbosity=0)
stand = Stand.objects.create(name="fish")
users = [User.objects.create(username=name) for name in ("alice", "bob")]
found, wares = [], []
for user in users:
    with use_user(user):
        Label.objects.all().delete()
        ware = Ware.objects.create(pk=1, owner=user, stand=stand, title=f"of {user}")
        wares.append(ware)
        Label.objects.create(name="own", target=ware)
        Label.objects.create(name="shared", target=stand)
for user in users:
    with use_user(user):
        labels = list(Label.objects.order_by("pk").prefetch_related("target"))
        found.append([str(getattr(label.target, "title", label.target.pk)) for label in labels])
        found[-1] += [str(Label.objects.get(name="own").target.title)]
        found[-1] += [str(Label.objects.get(name="shared").target.name)]
        found[-1] += list(Ware.objects.get().labels.values_list("name", flat=True))
        found[-1] += [Ware.objects.filter(labels__name="own").count()]
        try:
            Label.objects.create(name="crossing", target=wares[1 - users.index(user)])
        except WrongUser as error:
            found[-1].append(error.owner)
print(json.dumps(found))
"""
    )
    rows = [["of alice", str(1), "of alice", "fish", "own", 1, "2"]]
    rows += [["of bob", str(1), "of bob", "fish", "own", 1, "1"]]
    alices, bobs = json.loads(found)
    assert alices[0] == "of alice"
    assert bobs[0] == "of bob"
    assert [alices[2:], bobs[2:]] == [rows[0][2:], rows[1][2:]]
