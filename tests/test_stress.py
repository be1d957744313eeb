"""A short run of the stress test: nothing leaks, and without one of the protections it says that something does."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from dsud import current_user_id, use_user
from dsud.exceptions import NoActiveUser
from dsud.middleware import DatabaseSwitchMiddleware
from stress import verifier
from tests.notes.models import Note, Tag

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the stress test as `make stress` does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-m", "stress", "--seconds=120", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("operations", [4_000, pytest.param(20_000, marks=pytest.mark.once)])
def test_run__leaks_nothing(operations: int) -> None:
    finished = run("--json", f"--operations={operations}", "--users=60", "--max-open=8", "--seed=1")
    figures = json.loads(finished.stdout)
    assert (figures["leaks"], figures["unexpected"]) == ({}, {}), figures["examples"]
    assert finished.returncode == 0, finished.stderr
    assert min(figures["operations"][face] for face in ("WSGI", "ASGI")) >= operations / 2
    # Only a run in which all of this happened proves anything.
    assert figures["rows"] > operations / 20
    assert figures["files"] > 60
    for event in ("evictions", "sign-ups", "sign-ups rolled back", "deletions", "switches"):
        assert figures["events"][event] > 0
    for error in ("WrongUser", "NoActiveUser", "Boom", "UserDatabaseDoesNotExist"):
        assert figures["expected"][error] > 0


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("protection", "operations"),
    [("router", 6_000), ("guards", 2_000), ("cursor", 4_000), ("context", 1_000)],
)
def test_run__without_a_protection_leaks(protection: str, operations: int) -> None:
    finished = run(
        "--json",
        f"--operations={operations}",
        "--users=20",
        "--seed=1",
        f"--without-guard={protection}",
    )
    assert sum(json.loads(finished.stdout)["leaks"].values()) > 0
    assert finished.returncode == 1


def test_run__prints_its_seed_and_one_table() -> None:
    finished = run("--operations=100", "--users=4", "--seed=cafe")
    assert finished.stdout.startswith("seed cafe\n")
    for row in ("operations", "users", "evictions", "errors, unexpected", "leaks"):
        assert row in finished.stdout


# The verifier


def write(path: Path, *statements: str) -> None:
    """Make a database by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def make_user_database(directory: Path, key: str, *, place: str, texts: list[str]) -> None:
    """Make a user database with entries, each of which has the token `t`."""
    write(
        directory / f"user_databases/ab/{key}/{place}/db.sqlite3",
        "CREATE TABLE dsud_identity (user_key)",
        f"INSERT INTO dsud_identity VALUES ('{key}')",
        "CREATE TABLE diary_entry (text, token)",
        "CREATE TABLE diary_label (name)",
        "CREATE TABLE diary_marking (stamp)",
        *(f"INSERT INTO diary_entry VALUES ('{text}', 't')" for text in texts),
    )


@pytest.mark.parametrize(
    ("place", "texts", "foreign"),
    [
        ("1", ["7.0 a", "7.0 b"], {}),
        ("1", ["7.0 a", "8.0 b"], {"rows in a file": 1}),
        ("1", ["7.0 a", "7.1 b"], {"rows in a file": 1}),
        ("2", ["77.0 a"], {"rows in a file": 1}),
        ("1.deleted", ["7.3 a", "7.3 b"], {}),
        ("1.deleted", ["7.3 a", "7.3 b", "7.4 c"], {"rows in a file": 1}),
        ("1.deleted", ["8.0 a"], {"rows in a file": 1}),
    ],
)
def test_verify__counts_rows_of_others(
    tmp_path: Path, place: str, texts: list[str], foreign: dict[str, int]
) -> None:
    write(
        tmp_path / "default.sqlite3",
        "CREATE TABLE auth_user (id, username)",
        "INSERT INTO auth_user VALUES (7, '7.0')",
        "CREATE TABLE diary_receipt (token, stamp)",
        "INSERT INTO diary_receipt VALUES ('u', '7.0')",
    )
    make_user_database(tmp_path, "7", place=place, texts=texts)
    findings, disagreements = verifier.verify(tmp_path)
    assert findings.foreign == Counter(foreign)
    assert findings.rows == len(texts)
    assert disagreements == {"in default only": 1, "in a user's database only": 1}


# What the run has found


@pytest.mark.django_db(transaction=True)
def test_timeout__while_blocking_code_is_another_user(alice: User, bob: User) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def be_bob() -> None:
        with use_user(bob):
            inside.set()
            go_on.wait(10)

    async def be_alice() -> list[object]:
        active: list[object] = []
        async with use_user(alice):
            task = asyncio.ensure_future(asyncio.to_thread(inside.wait, 10))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await sync_to_async(be_bob, thread_sensitive=False)()
            await task
            active.append(current_user_id())
            go_on.set()
        return [*active, current_user_id()]

    assert async_to_sync(be_alice)() == [alice.pk, None]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kept", ["rows", "object"])
def test_anonymous_request__is_not_given_what_is_kept_of_a_user(alice: User, kept: str) -> None:
    rows = Note.objects.all()
    with use_user(alice):
        note = Note.objects.create(text="alice's note")
        note.tags.add(Tag.objects.create(name="alice's tag"))
        assert len(rows) == 1

    def view(request: HttpRequest) -> HttpResponse:
        found = list(rows) if kept == "rows" else list(note.tags.all())
        return HttpResponse(str(found))

    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    with pytest.raises(NoActiveUser):
        DatabaseSwitchMiddleware(view)(request)
