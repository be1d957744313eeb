"""Keys that leave the user's database carry no constraint; those inside it keep theirs."""

import re
import sqlite3
from collections.abc import Iterator

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connections, migrations, models
from django.db.migrations.state import ProjectState
from django.test.utils import isolate_apps

from dsud.connections import alias_of
from dsud.context import use_user
from dsud.exceptions import UserDatabaseOutdated
from tests.library.models import Book, Loan
from tests.notes.models import Note


def definition(table: str, user: User) -> str:
    with connections[alias_of(str(user.pk))].cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [table])
        return str(cursor.fetchone()[0])


def references(table: str, user: User) -> list[str]:
    return re.findall(r'REFERENCES "(\w+)"', definition(table, user))


@pytest.fixture
def evolving(settings: pytest_django.Settings, location: object) -> Iterator[None]:
    """Install the app with a history."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.evolving"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "evolving"]
    return


def test_insert__with_keys_to_shared_models(location: object, alice: User) -> None:
    book = Book.objects.create(title="Emma")
    with use_user(alice):
        loan = Loan.objects.create(book=book, reader=alice)
        again = Loan.objects.get(pk=loan.pk)
        assert again.book.title == "Emma"
        assert again.reader == alice
        assert again.reader._state.db == again.book._state.db == "default"
        assert references("library_loan", alice) == ["auth_user"]


def test_insert__key_to_a_shared_row_that_there_is_not(location: object, alice: User) -> None:
    with use_user(alice):
        Loan.objects.create(book_id=99, reader=alice)
        connections[alias_of(str(alice.pk))].check_constraints()
        with pytest.raises(Book.DoesNotExist):
            _ = Loan.objects.get().book


def test_insert__keys_inside_the_database_are_checked(
    location: object, transactional_db: None, alice: User
) -> None:
    with use_user(alice):
        assert references("notes_note_tags", alice) == ["notes_note", "notes_tag"]
        with pytest.raises(IntegrityError, match=r"^FOREIGN KEY constraint failed$"):
            Note.tags.through.objects.create(note_id=1, tag_id=2)


@pytest.mark.django_db
def test_rebuild__keeps_constraints_inside_and_none_across(evolving: None) -> None:
    alice = User.objects.create(username="alice")
    with use_user(alice):
        from tests.evolving.models import Item, Shelf

        # Added in place, made with the table of the many-to-many field, built anew by AlterField.
        assert references("evolving_shelf", alice) == []
        assert '"owner_id" integer NULL' in definition("evolving_shelf", alice)
        assert references("evolving_shelf_readers", alice) == ["evolving_shelf", "auth_user"]
        assert references("evolving_item", alice) == ["evolving_shelf"]
        shelf = Shelf.objects.create(name="x", owner=alice)
        shelf.readers.add(alice)
        (row,) = Shelf.readers.through.objects.all()
        assert row.user == alice
        Item.objects.create(shelf=shelf)
        connections[alias_of(str(alice.pk))].check_constraints()


@pytest.mark.django_db(transaction=True)
def test_rebuild__in_a_database_with_rows_keeps_them(evolving: None) -> None:
    alice = User.objects.create(username="alice")
    key = str(alice.pk)
    from tests.evolving.models import Item, Shelf

    with use_user(alice):
        Item.objects.create(shelf=Shelf.objects.create(name="kept", owner=alice))
    call_command("migrate_user_dbs", "evolving", "0001", users=[key])
    with (
        use_user(alice),
        pytest.raises(UserDatabaseOutdated, match=r"it lacks evolving\.0002_data"),
    ):
        list(Shelf.objects.all())
    call_command("migrate_user_dbs", users=[key])
    with use_user(alice):
        assert Item.objects.get().shelf.name == "kept"
        assert references("evolving_item", alice) == ["evolving_shelf"]
        assert references("evolving_shelf", alice) == []


@isolate_apps("tests.library")
def test_editor__leaves_the_fields_as_they_were(
    location: object, transactional_db: None, alice: User
) -> None:
    class Review(models.Model):
        reader = models.ForeignKey(Book, on_delete=models.DO_NOTHING)
        free = models.ForeignKey(
            Book, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
        )

        class Meta:
            app_label = "library"

    connection = connections[alias_of(str(alice.pk))]
    with use_user(alice):
        connection.ensure_connection()
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            editor.create_model(Review)
            extra = models.ForeignKey(User, on_delete=models.DO_NOTHING, null=True)
            extra.set_attributes_from_name("extra")
            extra.model = Review
            editor.add_field(Review, extra)
    fields = {name: Review._meta.get_field(name).db_constraint for name in ("reader", "free")}
    assert fields == {"reader": True, "free": False}
    assert extra.db_constraint
    assert 'ADD COLUMN "extra_id" integer NULL' in "".join(editor.collected_sql)
    assert "REFERENCES" not in "".join(editor.collected_sql)


@pytest.mark.parametrize("db_table", ["notes_shelf_tags", "notes_shelf_labels"])
def test_rebuild__of_a_many_to_many_table_gives_no_key_twice(
    location: object, transactional_db: None, alice: User, db_table: str
) -> None:
    class Initial(migrations.Migration):
        operations = [
            migrations.CreateModel("Label", [("id", models.BigAutoField(primary_key=True))]),
            migrations.CreateModel(
                "Shelf",
                [
                    ("id", models.BigAutoField(primary_key=True)),
                    ("tags", models.ManyToManyField("notes.Label")),
                ],
            ),
        ]

    class Altered(migrations.Migration):
        field = models.ManyToManyField("notes.Label", db_table=db_table, related_name="+")
        operations = [migrations.AlterField("Shelf", "tags", field)]

    connection = connections[alias_of(str(alice.pk))]
    state = ProjectState()
    with use_user(alice):
        with connection.schema_editor() as editor:
            state = Initial("0001", "notes").apply(state, editor)
        models_of = state.apps.get_model
        shelf = models_of("notes", "Shelf").objects.create()
        label = models_of("notes", "Label").objects.create()
        for _ in range(3):
            shelf.tags.set([label])
            shelf.tags.clear()
        with connection.schema_editor() as editor:
            state = Altered("0002", "notes").apply(state, editor)
        through = state.apps.get_model("notes", "Shelf").tags.through
        assert through._meta.db_table == db_table
        assert through.objects.create(shelf_id=shelf.pk, label_id=label.pk).pk == 4


def test_rebuild__twice_gives_no_key_twice(
    location: object, transactional_db: None, alice: User
) -> None:
    """One that failed outside of a transaction has left the old key under the new table's name."""
    connection = connections[alias_of(str(alice.pk))]
    with use_user(alice):
        for _ in range(3):
            Note.objects.create(text="x").delete()
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('new__notes_note', 1)")
        with connection.schema_editor() as editor:
            editor._remake_table(Note)
        assert Note.objects.create(text="y").pk == 4


def test_default__keeps_its_constraints(alice: User) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = 'auth_user_groups'")
        sql = str(cursor.fetchone()[0])
    assert re.findall(r'REFERENCES "(\w+)"', sql) == ["auth_user", "auth_group"]
    assert sqlite3.sqlite_version_info > (3, 26)
