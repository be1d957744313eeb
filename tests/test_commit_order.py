"""What ``kill -9`` leaves of an atomic block over two databases: the user's is committed first, ``default`` last.

Run as a program, this file makes a site and has forked processes of it killed.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: How often a process is killed at a moment by chance, outside of the window between two commits.
KILLS = 120

OUTSIDE, WINDOW, STARTING = 0, 1, 2

#: What each of the blocks writes that are killed at random.
ROWS = 3


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return what each kill has left, by its moment."""
    environment = os.environ | {
        "DSUD_TEST_DIR": str(tmp_path_factory.mktemp("site")),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    command = [sys.executable, "-m", "tests.test_commit_order"]
    finished = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_kill__before_the_first_commit_leaves_nothing(left) -> None:
    assert left["before"] == {"default": [], "alice": [], "bob": []}


def test_kill__between_the_commits_leaves_the_users_row_without_the_shared_one(left) -> None:
    assert left["between alice and default"] == {"default": [], "alice": ["x"], "bob": []}


def test_kill__between_two_users_leaves_what_is_committed_first(left) -> None:
    assert left["between alice and bob"] == {"default": [], "alice": ["x"], "bob": []}


def test_kill__after_both_users_and_before_default(left) -> None:
    assert left["between bob and default"] == {"default": [], "alice": ["x"], "bob": ["x"]}


def test_kill__in_a_block_inside_leaves_nothing(left) -> None:
    assert left["savepoint"] == {"default": [], "alice": [], "bob": []}


def test_kill__after_the_last_commit_leaves_both(left) -> None:
    assert left["after"] == {"default": ["x"], "alice": ["x"], "bob": []}


def test_kill__at_random_outside_of_the_window_leaves_both_or_neither(left) -> None:
    outside = [kill for kill in left["random"] if kill["moment"] == OUTSIDE]
    assert len(outside) >= KILLS
    assert [kill for kill in outside if kill["user only"] or kill["default only"]] == []
    assert sum(kill["both"] for kill in outside) > KILLS


def test_kill__at_random_never_leaves_the_shared_row_without_the_users(left) -> None:
    assert [kill for kill in left["random"] if kill["default only"]] == []
    assert {kill["user only"] for kill in left["random"]} <= {0, ROWS}  # A block is not torn.


# The program


def main() -> None:
    """Make a site with two users, kill processes, and print what they have left."""
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connections

    from dsud.pool import pool

    call_command("migrate", verbosity=0)
    for name in ("alice", "bob"):
        User.objects.create(pk={"alice": 1, "bob": 2}[name], username=name)
    connections.close_all()
    pool.close_idle()
    found: dict[str, object] = {name: kill_at(moment) for name, moment in MOMENTS.items()}
    found["random"] = kill_at_random()
    json.dump(found, sys.stdout)


def kill_at(moment: Callable[[], None]) -> dict[str, list[str]]:
    """Have a process kill itself at a moment, and return the rows that are left."""
    forget_rows()
    assert os.waitstatus_to_exitcode(os.waitpid(fork(moment), 0)[1]) == -signal.SIGKILL
    return rows()


def fork(work: Callable[[], None]) -> int:
    """Run something in a process of its own."""
    if pid := os.fork():
        return pid
    try:
        work()
    finally:
        os._exit(1)  # Because nothing of the parent's may be run here.


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def write(text: str, *, users: tuple[int, ...] = (1,)) -> None:
    """Write one row in ``default`` and one for each user."""
    from dsud import use_user
    from tests.library.models import Book
    from tests.notes.models import Note

    Book.objects.create(title=text)
    for pk in users:
        with use_user(pk):
            Note.objects.create(text=text)


def before() -> None:
    """Die when all is written and nothing committed."""
    from django.db.transaction import atomic

    with atomic():
        write("x")
        die()


def savepoint() -> None:
    """Die when a block inside is done and the one around it is not."""
    from django.db.transaction import atomic

    with atomic():
        with atomic():
            write("x")
        die()


def at_commit_of(alias: str, *, users: tuple[int, ...]) -> Callable[[], None]:
    """Return what dies when it comes to commit a database."""

    def work() -> None:
        from django.db import connections
        from django.db.transaction import atomic

        with atomic():
            write("x", users=users)
            connections[alias]._commit = die

    return work


def after() -> None:
    """Die in a callback, which runs when both are committed."""
    from django.db.transaction import atomic, on_commit

    with atomic():
        on_commit(die)
        write("x")


MOMENTS: dict[str, Callable[[], None]] = {
    "before": before,
    "savepoint": savepoint,
    "between alice and default": at_commit_of("default", users=(1,)),
    "between alice and bob": at_commit_of("user_2", users=(1, 2)),
    "between bob and default": at_commit_of("default", users=(1, 2)),
    "after": after,
}


def kill_at_random() -> list[dict[str, int]]:
    """Kill processes that write all the time, until enough were not in the window."""
    forget_rows()
    chance, moment = random.Random(0), mmap.mmap(-1, 1)
    kills: list[dict[str, int]] = []
    while sum(kill["moment"] == OUTSIDE for kill in kills) < KILLS and len(kills) < 10 * KILLS:
        moment[0] = STARTING
        pid = fork(lambda: write_for_ever(moment))
        while moment[0] == STARTING:  # Until the first block is committed.
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = rows()
        shared, own = set(found["default"]), set(found["alice"])
        kills.append(
            {
                "moment": moment[0],
                "both": len(shared & own),
                "user only": len(own - shared),
                "default only": len(shared - own),
            }
        )
        forget_rows()
    return kills


def write_for_ever(moment: mmap.mmap) -> None:
    """Write block after block, and tell when the commits begin and end."""
    from django.db import connections
    from django.db.transaction import atomic

    own, shared = connections["user_1"], connections["default"]
    commit_own, commit_shared = own._commit, shared._commit

    def begin() -> None:
        moment[0] = max(moment[0], WINDOW)
        commit_own()

    def end() -> None:
        commit_shared()
        moment[0] = OUTSIDE

    own._commit, shared._commit = begin, end
    for number in itertools.count():
        with atomic():
            for part in range(ROWS):
                write(f"{os.getpid()}-{number}-{part}")


# Looked at directly


def paths() -> dict[str, tuple[Path, str]]:
    """Return each database and its table."""
    from django.conf import settings

    (alice,), (bob,) = (settings.BASE_DIR.glob(f"user_databases/??/{pk}/1/*3") for pk in (1, 2))
    return {
        "default": (settings.BASE_DIR / "default.sqlite3", "library_book (title)"),
        "alice": (alice, "notes_note (text)"),
        "bob": (bob, "notes_note (text)"),
    }


def rows() -> dict[str, list[str]]:
    """Return what is in each database."""
    found = {}
    for name, (path, table) in paths().items():
        table_name, column = table.rstrip(")").split(" (")
        with closing(sqlite3.connect(path)) as connection:
            read = connection.execute(f"SELECT {column} FROM {table_name} ORDER BY id")
            found[name] = [text for (text,) in read]
    return found


def forget_rows() -> None:
    """Empty the databases."""
    for path, table in paths().values():
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"DELETE FROM {table.split()[0]}")


if __name__ == "__main__":
    main()
