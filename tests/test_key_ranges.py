"""Each user database has a range of primary keys, so that an id never means two rows."""

import io
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from dsud import key_ranges, provisioning, retirement
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.engines import engine
from dsud.engines.ranges import LAST_NUMBER, KeyRange, number_of
from dsud.exceptions import KeyRangesExhausted, NotSupportedByEngine
from dsud.models import UserDatabaseNumber
from tests.notes.models import Note, Tag
from tests.sites import Site

pytestmark = pytest.mark.django_db(transaction=True, reset_sequences=True)


@pytest.fixture(autouse=True)
def distinct(settings: pytest_django.Settings, location: object) -> None:
    settings.DSUD_DISTINCT_KEYS = True


def add(user: object, text: str = "x") -> int:
    with use_user(user):
        return Note.objects.create(text=text).pk


def start_of(user: object) -> int:
    """Return the key before the first one of a user's newest range."""
    key = str(getattr(user, "pk", user))
    number = UserDatabaseNumber.objects.filter(user_key=key).last().pk
    return KeyRange(number, ()).start


def noted(user: object) -> int | None:
    key = str(getattr(user, "pk", user))
    with use_user(user):
        return engine().key_number(connections[alias_of(key)])


def names() -> Iterator[str]:
    yield from (f"user{number}" for number in range(10_000))


name = names()


def sign_up() -> User:
    return User.objects.create(username=next(name))


# Births


def test_two_users__never_have_rows_of_one_key() -> None:
    alice, bob = sign_up(), sign_up()
    of_alice, of_bob = ({add(user) for _ in range(3)} for user in (alice, bob))
    assert of_alice == {start_of(alice) + each for each in (1, 2, 3)}
    assert of_bob == {start_of(bob) + each for each in (1, 2, 3)}
    assert not of_alice & of_bob
    assert max(of_alice | of_bob) < 2**53


def test_tables__of_many_to_many_fields_have_ranges_too() -> None:
    alice = sign_up()
    with use_user(alice):
        note = Note.objects.create(text="x")
        note.tags.add(Tag.objects.create(name="y"))
        through = Note.tags.through.objects.get()
        assert [note.pk, through.pk, through.tag_id] == [start_of(alice) + 1] * 3


def test_setting_off__begins_at_1_and_asks_for_no_number(
    settings: pytest_django.Settings,
) -> None:
    settings.DSUD_DISTINCT_KEYS = False
    alice = sign_up()
    assert add(alice) == 1
    key_ranges.seed(str(alice.pk))
    assert (add(alice), noted(alice)) == (2, None)
    assert not UserDatabaseNumber.objects.exists()


def test_successor__under_the_same_key_has_other_keys() -> None:
    alice = sign_up()
    pk, first = alice.pk, add(alice)
    alice.delete()
    again = User.objects.create(pk=pk, username="again")
    assert number_of(add(again)) > number_of(first)
    key = str(pk)
    with engine().lock(key):
        retirement.take_out_of_service(key)
    provisioning.provision(key, lost=True)
    assert [each.user_key for each in UserDatabaseNumber.objects.all()] == [key] * 3
    assert number_of(add(again)) == UserDatabaseNumber.objects.last().pk


def test_database_that_is_there__keeps_its_range_when_it_is_to_be_made() -> None:
    alice = sign_up()
    before = add(alice)
    provisioning.provide_after_sign_up(str(alice.pk))
    assert add(alice) == before + 1


def test_sign_up__in_a_transaction_has_its_range_from_the_first_row() -> None:
    with transaction.atomic():
        alice = sign_up()
        first = add(alice)
    assert first == start_of(alice) + 1
    assert add(alice) == first + 1


def test_sign_up__that_is_rolled_back_leaves_no_row_with_its_keys() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ghost = sign_up()
        add(ghost)
        raise ZeroDivisionError
    bob, carol = sign_up(), sign_up()
    assert len({add(bob), add(carol)}) == 2
    assert start_of(bob) != start_of(carol)


def test_inner_block__that_is_rolled_back() -> None:
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            add(sign_up())
            raise ZeroDivisionError
        bob = sign_up()
        assert add(bob) == start_of(bob) + 1
    assert add(bob) == start_of(bob) + 2


@pytest.mark.slow
def test_processes__that_sign_up_at_once(tmp_path: Path) -> None:
    printed = Site(tmp_path).run(
        r"""
from django.conf import settings
from tests.notes.models import Note
settings.DSUD_DISTINCT_KEYS = True
call_command("migrate", verbosity=0)

def sign_up(index):
    for each in range(5):
        with transaction.atomic():
            user = User.objects.create(username=f"{index}-{each}")
            if each % 3:
                with use_user(user):
                    Note.objects.create(text="x")
        with use_user(user):
            os.write(1, b"%d\n" % (Note.objects.create(text="y").pk >> 32))

assert in_children(4, sign_up) == [0] * 4
"""
    )
    numbers = printed.split()
    assert (len(numbers), len(set(numbers))) == (20, 20)
    assert "0" not in numbers


class InATestCase(TestCase):
    """Databases in memory."""

    def test_rows_of_two_users_differ(self) -> None:
        alice, bob = sign_up(), sign_up()
        assert add(alice) == start_of(alice) + 1
        assert add(bob) == start_of(bob) + 1
        key_ranges.seed(str(alice.pk))
        assert add(alice) == start_of(alice) + 2
        assert UserDatabaseNumber.objects.count() == 2


def test_numbers__run_out(caplog: pytest.LogCaptureFixture) -> None:
    alice = sign_up()
    UserDatabaseNumber.objects.create(pk=LAST_NUMBER - 1, user_key="x")
    last = sign_up()
    assert add(last) == 2**53 - 2**32 + 1
    with caplog.at_level(logging.ERROR):
        late = sign_up()
    with use_user(late), pytest.raises(KeyRangesExhausted) as caught:
        Note.objects.count()
    assert str(caught.value) == (
        f"No range of primary keys is left for the database of user {str(late.pk)!r}: all 2,097,151"
        " were given. Set DSUD_DISTINCT_KEYS = False."
    )
    assert UserDatabaseNumber.objects.last().pk == LAST_NUMBER
    assert add(alice) == start_of(alice) + 1


def test_engine_without_ranges__is_refused(
    settings: pytest_django.Settings, tmp_path: Path
) -> None:
    settings.USER_DATABASES = {
        "default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path / "flat"}
    }
    with mock.patch("logging.Logger.error"):
        alice = sign_up()
    for ask in (provisioning.provision, key_ranges.seed):
        with pytest.raises(NotSupportedByEngine) as caught:
            ask(str(alice.pk))
        assert str(caught.value) == (
            "The engine of USER_DATABASES['default'] cannot take the primary keys of each user from a"
            " range of their own. Do without, or choose another engine."
        )


# Databases that are there


def made_without(settings: pytest_django.Settings) -> User:
    """Return a user whose database is from before the setting."""
    settings.DSUD_DISTINCT_KEYS = False
    user = sign_up()
    assert add(user, "old") == 1
    settings.DSUD_DISTINCT_KEYS = True
    return user


def test_seed__rows_keep_their_keys_and_new_ones_are_of_the_range(
    settings: pytest_django.Settings,
) -> None:
    alice, bob = made_without(settings), made_without(settings)
    for user in (alice, bob):
        key_ranges.seed(str(user.pk))
    assert [add(alice), add(bob)] == [start_of(alice) + 1, start_of(bob) + 1]
    with use_user(alice):
        assert Note.objects.get(pk=1).text == "old"
    assert noted(alice) == number_of(start_of(alice))


def test_seed__again_changes_nothing() -> None:
    alice = sign_up()
    last = [add(alice) for _ in range(3)][-1]
    with use_user(alice):
        Note.objects.all().delete()
    for _ in range(2):
        key_ranges.seed(str(alice.pk))
    assert UserDatabaseNumber.objects.count() == 1
    assert add(alice) == last + 1


def test_seed__of_a_table_that_is_new() -> None:
    alice = sign_up()
    with closing(connections[alias_of(str(alice.pk))].cursor()) as cursor:
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = 'notes_tag'")
    key_ranges.seed(str(alice.pk))
    with use_user(alice):
        assert Tag.objects.create(name="x").pk == start_of(alice) + 1


def test_seed__needs_no_registry_row() -> None:
    """The number is in the file, and is the user's in a registry that was restored without it."""
    alice = sign_up()
    first = add(alice)
    UserDatabaseNumber.objects.all().delete()
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = 'dsud_userdatabasenumber'")
    key_ranges.seed(str(alice.pk))
    assert number_of(start_of(alice)) == number_of(first) == 1
    assert add(alice) == first + 1
    assert number_of(add(sign_up())) == 2


def test_seed__of_a_database_from_elsewhere_whose_number_is_anothers() -> None:
    alice, bob = sign_up(), sign_up()
    add(alice)
    with use_user(bob):
        connection = connections[alias_of(str(bob.pk))]
        engine().begin_keys(connection, KeyRange(number_of(start_of(alice)), ("notes_note",)))
    key_ranges.seed(str(bob.pk))
    assert noted(bob) == 3
    assert number_of(add(bob)) == 3


def test_seed__after_rows_with_keys_of_another_range_were_put_in() -> None:
    alice, bob = sign_up(), sign_up()
    of_bob = add(bob)
    with use_user(alice):
        Note.objects.create(pk=of_bob, text="copied")
    key_ranges.seed(str(alice.pk))
    assert number_of(add(alice)) == noted(alice) == 3
    key_ranges.seed(str(alice.pk))
    assert UserDatabaseNumber.objects.count() == 3


def test_seed__after_a_row_with_a_key_beyond_all_ranges(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alice = sign_up()
    with use_user(alice):
        Note.objects.create(pk=2**60, text="numbered by somebody else")
    with caplog.at_level(logging.WARNING):
        key_ranges.seed(str(alice.pk))
    assert caplog.messages == [
        "A user database has rows with keys beyond all ranges, and new ones follow them."
    ]
    assert UserDatabaseNumber.objects.count() == 1


def test_draw__passes_over_numbers_that_databases_from_elsewhere_have() -> None:
    alice = sign_up()
    create = UserDatabaseNumber.objects.all().create
    UserDatabaseNumber.objects.create(pk=2, user_key="from elsewhere")
    taken = iter([2, 2, 3])

    def create_next(self: object, **values: object) -> object:
        return create(pk=next(taken), **values)

    with mock.patch("django.db.models.QuerySet.create", create_next):
        assert key_ranges._draw_number(str(alice.pk)) == 3
    with (
        mock.patch(
            "django.db.models.QuerySet.create", lambda self, **values: create(pk=1, **values)
        ),
        pytest.raises(KeyRangesExhausted) as caught,
    ):
        key_ranges._draw_number("7")
    assert str(caught.value) == (
        "No range of primary keys was found for the database of user '7', because databases from"
        " elsewhere have the next 100. Try again."
    )


def test_file__carries_the_number_only_if_it_has_one(settings: pytest_django.Settings) -> None:
    old, new = made_without(settings), sign_up()
    for user, columns in ((old, ["user_key"]), (new, ["user_key", "number"])):
        path = engine().path_of(str(user.pk))
        with closing(sqlite3.connect(path)) as raw:
            (found,) = [raw.execute("SELECT * FROM dsud_identity").description]
        assert [column[0] for column in found] == columns


def test_migrate_user_dbs__gives_ranges_to_databases_from_before(
    settings: pytest_django.Settings,
) -> None:
    alice, bob = made_without(settings), made_without(settings)
    call_command("migrate_user_dbs", "--plan", stdout=io.StringIO())
    assert (noted(alice), noted(bob)) == (None, None)
    call_command("migrate_user_dbs", stdout=io.StringIO())
    assert {number_of(add(alice)), number_of(add(bob))} == {1, 2}


# What it costs


def test_sign_up__costs_no_query_that_a_project_counts(settings: pytest_django.Settings) -> None:
    counts = []
    for distinct in (False, True):
        settings.DSUD_DISTINCT_KEYS = distinct
        sign_up()
        with CaptureQueriesContext(connections["default"]) as queries:
            sign_up()
        counts.append(len(queries))
    assert counts[0] == counts[1]


# Migrations


@pytest.fixture
def evolving(settings: pytest_django.Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolving"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolving"]


def test_migrations__of_a_database_with_a_range_give_no_key_twice(evolving: None) -> None:
    """Two rows of a data migration come first, and take the two keys after the last one."""
    from tests.evolving.models import Item, Shelf

    alice = sign_up()
    with use_user(alice):
        shelf = Shelf.objects.create(name="kept")
        last = [Item.objects.create(shelf=shelf).pk for _ in range(2)][-1]
        Item.objects.get(pk=last).delete()
        gone = Shelf.objects.create(name="gone")
        after = gone.pk
        gone.delete()
    for target in (["evolving", "0001"], []):
        call_command("migrate_user_dbs", *target, users=[str(alice.pk)], stdout=io.StringIO())
    with use_user(alice):
        assert Shelf.objects.create(name="new").pk == after + 3
        assert Item.objects.create(shelf=shelf).pk == last + 1
