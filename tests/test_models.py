"""The registry: one row for each user database, in ``default``, changed in one statement."""

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from dsud import models as registry
from dsud.context import use_user
from dsud.models import UserDatabase
from dsud.router import is_user_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("location")]

State = UserDatabase.State


def test_registry__lives_in_default_whoever_is_active() -> None:
    assert not is_user_model(UserDatabase)
    with use_user(1):
        registry.write("é", state=State.READY)
        assert registry.state_of("é") == "ready"
    assert UserDatabase.objects.using("default").get().user_key == "é"


def test_migrations__are_complete() -> None:
    call_command("makemigrations", "dsud", check=True, dry_run=True, verbosity=0)


def test_state_of__tells_keys_apart_that_differ_in_case() -> None:
    registry.write("Bob", state=State.READY)
    registry.write("bob", state=State.DELETED)
    assert registry.state_of("Bob") == "ready"
    assert registry.state_of("bob") == "deleted"
    assert registry.state_of("BOB") is None


def test_write__makes_and_changes_one_row() -> None:
    assert registry.write("7", state=State.PENDING)
    assert registry.write("7", state=State.READY, schema="abc")
    row = UserDatabase.objects.get()
    assert (row.user_key, row.state, row.schema, row.last_error) == ("7", "ready", "abc", "")
    assert row.created is not None
    assert str(row) == "7"


def test_write__leaves_alone_what_it_must() -> None:
    assert registry.write("7", unless=State.DELETED, state=State.READY)
    registry.mark_deleted("7")
    assert not registry.write("7", unless=State.DELETED, state=State.READY)
    assert registry.state_of("7") == "deleted"


def test_write__changing_a_row_takes_one_statement() -> None:
    registry.write("7", state=State.PENDING)
    statements = []

    def record(execute, sql, *args):
        statements.append(sql)
        return execute(sql, *args)

    with connections["default"].execute_wrapper(record):
        registry.write("7", unless=State.DELETED, state=State.READY)
    assert len(statements) == 1


def test_registry__does_not_count_among_a_projects_queries() -> None:
    with CaptureQueriesContext(connections["default"]) as queries:
        registry.write("7", state=State.READY)
        registry.state_of("7")
        registry.mark_deleted("7")
    assert len(queries) == 0


def test_row__is_unique() -> None:
    UserDatabase.objects.create(user_key="7")
    with pytest.raises(IntegrityError), transaction.atomic():
        UserDatabase.objects.create(user_key="7")


def test_record_failure__says_what_and_makes_no_row() -> None:
    registry.record_failure("7", ValueError("odd"))
    assert UserDatabase.objects.count() == 0
    registry.write("7", state=State.READY)
    registry.record_failure("7", ValueError("odd"))
    assert UserDatabase.objects.get().last_error == "ValueError: odd"


def test_any_ready() -> None:
    registry.write("7", state=State.PENDING)
    assert not registry.any_ready()
    registry.write("8", state=State.READY)
    assert registry.any_ready()
    registry.mark_deleted("8")
    assert not registry.any_ready()


def test_longest_key__has_room() -> None:
    registry.write("x" * 240, state=State.READY)
    UserDatabase.objects.get().full_clean()


def test_put__makes_a_row_or_changes_it_in_one_statement() -> None:
    statements = []

    def record(execute, sql, *args):
        statements.append(sql)
        return execute(sql, *args)

    with connections["default"].execute_wrapper(record):
        registry.put("7", state=State.PENDING)
        made = UserDatabase.objects.get()
        registry.put("7", state=State.READY, schema="abc")
    changed = UserDatabase.objects.get()
    assert len([sql for sql in statements if not sql.startswith("SELECT")]) == 2
    assert (made.state, made.schema, made.migrated) == ("pending", "", None)
    assert (changed.state, changed.schema) == ("ready", "abc")
    assert (changed.pk, changed.created) == (made.pk, made.created)
    assert made.created is not None


def test_put__where_the_database_has_no_such_statement(monkeypatch) -> None:
    features = connections["default"].features
    monkeypatch.setattr(features, "supports_update_conflicts_with_target", False)
    registry.put("7", state=State.PENDING)
    registry.put("7", state=State.READY)
    assert UserDatabase.objects.get().state == "ready"


@pytest.mark.parametrize("has_statement", [True, False])
def test_put__leaves_alone_what_it_must(monkeypatch, *, has_statement: bool) -> None:
    features = connections["default"].features
    monkeypatch.setattr(features, "supports_update_conflicts_with_target", has_statement)
    assert registry.put("7", unless=State.DELETED, state=State.PENDING)
    assert registry.put("7", unless=State.DELETED, state=State.READY)
    registry.mark_deleted("7")
    assert not registry.put("7", unless=State.DELETED, state=State.READY)
    assert registry.state_of("7") == "deleted"
    assert registry.put("7", state=State.READY)
    assert registry.state_of("7") == "ready"


def test_ready_among__only_those_that_are_asked_for() -> None:
    for key, state in (("1", State.READY), ("2", State.READY), ("3", State.DELETED)):
        registry.write(key, state=state)
    assert registry.ready_among(["2", "3", "4"]) == {"2"}
