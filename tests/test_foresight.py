"""What a rollout would do is told once for databases in the same state, and nothing is done."""

import json
from collections.abc import Callable

import pytest

from dsud import engines, foresight, schema
from dsud.connections import pool
from dsud.management import foretelling
from dsud.models import FleetRun, UserDatabase
from tests.histories import History, dump
from tests.test_rollout import (
    ADD,
    close,
    columns,
    corrupt,
    deploy,
    file_of,
    history,
    refused,
    run,
    script,
    sign_up,
)

__all__ = ["deploy", "history"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

PLAN = "Planned operations:\nevolution.0002_add\n    Add field added to shelf\n"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the keys of databases as they are opened."""
    keys: list[str] = []
    open_ = engines.engine().open
    monkeypatch.setattr(
        engines.engine(), "open", lambda key, *a, **k: keys.append(key) or open_(key, *a, **k)
    )
    return keys


def test_plan__one_database_of_each_state_is_opened(
    deploy: Callable[..., None], opened: list[str]
) -> None:
    users = sign_up(*(f"user{number}" for number in range(12)))
    deploy("0002_add", ADD)
    run("--user", "user0")
    before = [dump(file_of(user)) for user in users], list(UserDatabase.objects.values())
    runs = FleetRun.objects.count()
    close()
    opened.clear()
    keys = [str(user.pk) for user in users[1:]]
    assert run("--plan") == (
        f"11 user databases: {', '.join(keys[:10])} and 1 others\n{PLAN}"
        "11 of 12 user databases have migrations left to apply.\n"
    )
    assert set(opened) == {keys[0]}
    close()
    assert ([dump(file_of(user)) for user in users], list(UserDatabase.objects.values())) == before
    assert FleetRun.objects.count() == runs


def test_plan__states_that_the_registry_does_not_know(
    deploy: Callable[..., None], opened: list[str]
) -> None:
    users = sign_up("alice", "bob", "carol", "dave")
    deploy("0002_add", ADD)
    run("evolution", "zero", "--user", "alice", "--user", "bob")
    close()
    opened.clear()
    output = run("--plan", "evolution", "--workers", "1")
    alice, bob, carol, dave = (str(user.pk) for user in users)
    assert f"2 user databases: {carol}, {dave}\n{PLAN}" in output
    assert (
        f"2 user databases: {alice}, {bob}\nPlanned operations:\nevolution.0001_setup\n" in output
    )
    assert output.endswith("4 of 4 user databases have migrations left to apply.\n")
    assert set(opened) == {alice, bob, carol}


def test_plan__backwards_and_as_json(deploy: Callable[..., None]) -> None:
    (alice,) = sign_up("alice")
    deploy("0002_add", ADD)
    run()
    (group,) = json.loads(run("--plan", "evolution", "0001", "--json"))
    assert group == {
        "users": [str(alice.pk)],
        "migrations": ["evolution.0002_add"],
        "plan": "Planned operations:\nevolution.0002_add\n    Undo Add field added to shelf\n",
    }
    assert json.loads(run("--plan", "--json")) == []
    assert "added" in columns(alice)


def test_plan__one_that_cannot_be_opened_is_named(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    corrupt(alice)
    deploy("0002_add", ADD)
    message, code = refused("--plan")
    assert code == 1
    assert message.startswith(
        "1 user databases failed, all others were looked at. Mend the causes and run it again:\n"
        f"  {alice.pk}: The database of user '{alice.pk}' cannot be used:"
    )
    UserDatabase.objects.update(schema="")
    message, code = refused("--check", "--verify")
    assert message.startswith(
        f"1 of 2 user databases have migrations left to apply: {bob.pk}."
        " Run `manage.py migrate_user_dbs`.\n1 user databases failed, "
    )


def test_check__by_the_ledger_and_by_the_files(deploy: Callable[..., None]) -> None:
    _alice, bob = sign_up("alice", "bob")
    assert run("--check") == "0 of 2 user databases have migrations left to apply.\n"
    deploy("0002_add", ADD)
    run("--user", "alice")
    UserDatabase.objects.update(schema=schema.fingerprint())
    assert run("--check") == "0 of 2 user databases have migrations left to apply.\n"
    assert refused("--check", "--verify") == (
        (
            f"1 of 2 user databases have migrations left to apply: {bob.pk}."
            " Run `manage.py migrate_user_dbs`."
        ),
        1,
    )
    assert UserDatabase.objects.get(user_key=bob.pk).schema == schema.fingerprint()
    assert run("--check", "--user", "alice") == (
        "0 of 1 user databases have migrations left to apply.\n"
    )


def test_check__new_code_without_migrations_leaves_nothing_to_apply(
    deploy: Callable[..., None], history: History
) -> None:
    sign_up("alice")
    UserDatabase.objects.update(schema="of other code")
    assert run("--check") == "0 of 1 user databases have migrations left to apply.\n"


def test_foresight__all_of_a_state_cannot_be_opened(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = sign_up("alice", "bob", "carol")
    for user in users:
        corrupt(user)
    monkeypatch.setattr(foresight, "TRIED", 2)
    ahead = foresight.Foresight(workers=1)
    assert ahead.of([str(user.pk) for user in users]) == {}
    assert list(ahead.failures) == [str(user.pk) for user in users[:2]]


def test_named__the_first_of_many() -> None:
    assert foretelling.named(["a", "b"]) == "a, b"
    assert foretelling.named([str(n) for n in range(10)]).endswith("8, 9")
    assert foretelling.named([str(n) for n in range(1_000)]).endswith("8, 9 and 990 others")


# What is only noted as applied


def test_fake__in_one_transaction_with_ledger_and_stamp(deploy: Callable[..., None]) -> None:
    alice, bob = sign_up("alice", "bob")
    for user in (alice, bob):
        script(user, "ALTER TABLE evolution_shelf ADD COLUMN added INTEGER NOT NULL DEFAULT 1")
    deploy("0002_add", ADD)
    (first, second) = json.loads(run("--fake", "--json"))
    assert (first["steps"], first["how"], first["current"]) == (
        ["Faked evolution.0002_add"],
        "SQL",
        True,
    )
    assert second["user"] == str(bob.pk)
    for user in (alice, bob):
        close()
        assert engines.engine().has_stamp(str(user.pk), schema.fingerprint())
        assert columns(user) == ["id", "name", "added"]
        assert dump(file_of(user))["django_migrations: rows"]
    assert run("--check", "--verify") == "0 of 2 user databases have migrations left to apply.\n"
    assert run("evolution", "0001", "--fake") == (
        f"User {alice.pk}:\n  Faked unapplying evolution.0002_add\n"
        f"User {bob.pk}:\n  Faked unapplying evolution.0002_add\n2 of 2 user databases migrated.\n"
    )
    assert columns(alice) == ["id", "name", "added"]
    assert not engines.engine().has_stamp(str(alice.pk), schema.fingerprint())
    assert pool.leased <= 1
