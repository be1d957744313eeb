"""Schema editors alter a related table only where it is."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.migrations import operations
from django.db.migrations.state import ProjectState

from dsud.connections import alias_of
from dsud.context import use_user
from dsud.editors import OnlyHere
from tests.library.models import Book, Loan
from tests.sites import Site


def migrate(alias: str, operation: operations.base.Operation, state: ProjectState) -> ProjectState:
    """Apply an operation to a database, and return the state after it."""
    after = state.clone()
    operation.state_forwards("library", after)
    with connections[alias].schema_editor() as editor:
        operation.database_forwards("library", editor, state, after)
    return after


def tables(alias: str) -> set[str]:
    return set(connections[alias].introspection.table_names())


@pytest.fixture
def state() -> ProjectState:
    from django.apps import apps

    return ProjectState.from_apps(apps)


def test_rename__of_a_shared_model_that_user_models_have_keys_to(
    location: object, transactional_db: None, alice: User, state: ProjectState
) -> None:
    alias = alias_of(str(alice.pk))
    with use_user(alice):
        Loan.objects.create(book=Book.objects.create(title="Emma"), reader=alice)
    there, back = (
        operations.RenameModel("Book", "Volume"),
        operations.RenameModel("Volume", "Book"),
    )
    after = migrate("default", there, state)
    assert "library_volume" in tables("default")
    assert migrate(alias, there, state).models.keys() == after.models.keys()
    assert not {"library_volume", "library_book"} & tables(alias)
    migrate("default", back, after)
    assert Book.objects.get().title == "Emma"
    with use_user(alice):
        assert Loan.objects.get().book.title == "Emma"


def test_alter__key_of_a_shared_model_that_user_models_have_keys_to(tmp_path: Path) -> None:
    printed = Site(tmp_path).run(
        """
from django.apps import apps
from django.db import models
from django.db.migrations import operations
from django.db.migrations.state import ProjectState
call_command("migrate", verbosity=0)
from tests.library.models import Book
Book.objects.create(title="Emma")
before = ProjectState.from_apps(apps)
after = before.clone()
wider = operations.AlterField("Book", "id", models.CharField(max_length=20, primary_key=True))
wider.state_forwards("library", after)
with connections["default"].schema_editor() as editor:
    wider.database_forwards("library", editor, before, after)
with connections["default"].cursor() as cursor:
    cursor.execute("SELECT id, title FROM library_book")
    print(cursor.fetchall())
"""
    )
    assert printed == "[('1', 'Emma')]\n"


def test_many_to_many__of_a_mirrored_model_has_no_table_in_user_databases(
    location: object, transactional_db: None, alice: User
) -> None:
    with use_user(alice):
        found = tables(alias_of(str(alice.pk)))
    assert "auth_user" in found
    assert not {"auth_user_groups", "auth_user_user_permissions", "auth_group"} & found
    assert {"auth_user_groups", "auth_user_user_permissions"} <= tables("default")


def test_editor__is_still_the_backends(transactional_db: None) -> None:
    editor = connections["default"].schema_editor()
    assert isinstance(editor, OnlyHere)
    assert isinstance(editor, connections["default"].SchemaEditorClass)
    assert type(editor) is type(connections["default"].schema_editor())
