"""One of many is corrupt, locked, missing or may not be written: it is named, all others are done."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.sites import Site

pytestmark = pytest.mark.slow

USERS = 16

MAKE = f"""
call_command("migrate", verbosity=0)
from tests.notes.models import Note
for number in range({USERS}):
    with use_user(User.objects.create(username=f"person{{number}}")):
        Note.objects.create(text=f"of {{number}}")
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.run(MAKE)
    return site


def file_of(site: Site, key: int) -> Path:
    (path,) = site.location.glob(f"??/{key}/1/db.sqlite3")
    return path


def checkpointed(path: Path) -> Path:
    """Return the file with all its rows in it, and nothing beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def corrupt(path: Path) -> None:
    checkpointed(path).write_bytes(b"garbage" * 2_000)


def refuse_writes(path: Path) -> None:
    """Have SQLite take the file for one that may only be read, whoever we are."""
    with checkpointed(path).open("r+b") as file:
        file.seek(
            18
        )  # The version that is needed to write (https://www.sqlite.org/fileformat.html).
        file.write(b"\x03")


def without_progress(text: str) -> str:
    return re.sub(r"^ *\d+% .*\n", "", text, flags=re.MULTILINE)


def notes(site: Site) -> dict[int, int | None]:
    """Return how many notes each user has, None where that cannot be told."""
    found: dict[int, int | None] = {}
    for key in range(1, USERS + 1):
        try:
            with closing(sqlite3.connect(file_of(site, key))) as connection:
                (found[key],) = connection.execute("SELECT count(*) FROM notes_note").fetchone()
        except (ValueError, sqlite3.DatabaseError):
            found[key] = None
    return found


@pytest.fixture
def locked(site: Site) -> Iterator[int]:
    """Have another process write to a database for longer than anybody waits."""
    with closing(sqlite3.connect(file_of(site, 7), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield 7
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_run_on_user_dbs__names_each_that_fails_and_does_all_others(
    site: Site, locked: int, workers: str
) -> None:
    corrupt(file_of(site, 3))
    file_of(site, 5).unlink()
    refuse_writes(file_of(site, 11))
    finished = site.manage("run_on_user_dbs", "--workers", workers, "flush", "--noinput")

    assert finished.returncode == 1
    assert finished.stdout == f"{USERS - 4} of {USERS} user databases done.\n"
    lines = without_progress(finished.stderr).splitlines()
    assert lines[0] == (
        "CommandError: 4 user databases failed, all others are done."
        " Mend the causes and run it again:"
    )
    causes = dict(line.strip().split(": ", 1) for line in lines[1:] if re.match(r"  \d", line))
    assert list(causes) == ["3", "5", "7", "11"]
    assert "file is not a database" in causes["3"]
    assert "is registered but its file is missing" in causes["5"]
    assert "database" in causes["7"]
    assert "database" in causes["11"]
    assert notes(site) == {
        key: None if key in (3, 5) else 1 if key in (7, 11) else 0 for key in range(1, USERS + 1)
    }

    told = site.manage("show_user_dbs", "--runs", "--json").stdout
    assert '"command": "run_on_user_dbs flush --noinput"' in told
    assert f'"done": {USERS - 4},\n    "failed": 4,' in told


def test_verify__names_each_that_fails(site: Site, locked: int) -> None:
    corrupt(file_of(site, 3))
    file_of(site, 5).unlink()
    refuse_writes(file_of(site, 11))
    finished = site.manage("show_user_dbs", "--verify", "--failed", "--json", "--workers", "2")
    assert finished.returncode == 0, finished.stderr
    found = re.findall(r'"user": "(\d+)",\s+"state": "(\w+)"', finished.stdout)
    # Who only looks is not kept out by who writes.
    assert found == [("3", "ready"), ("5", "missing")]


KILLED = """
from dsud import fleet
from tests.notes.models import Note
def work(key):
    with transaction.atomic():
        Note.objects.create(text="half")
        if key in sys.argv[1].split(","):
            os.kill(os.getpid(), signal.SIGKILL)
        Note.objects.create(text="done")
outcomes = list(fleet.for_each(work, workers=2))
print(*(outcome.user_key for outcome in outcomes if outcome.error is not None))
"""


def test_for_each__killed_workers_leave_databases_as_they_were(site: Site) -> None:
    assert site.run(KILLED, "2,9,10,16") == "2 9 10 16\n"
    assert notes(site) == {key: 1 if key in (2, 9, 10, 16) else 3 for key in range(1, USERS + 1)}
    assert site.run(KILLED, "none") == "\n"
    assert notes(site) == {key: 3 if key in (2, 9, 10, 16) else 5 for key in range(1, USERS + 1)}


SLOW = """
import time
from django.core.management import BaseCommand
from unittest import mock
from tests.notes.models import Note
class Slow(BaseCommand):
    def handle(self, *args, **options):
        time.sleep(0.3)
        Note.objects.create(text="done")
from django.core.management import execute_from_command_line
with mock.patch("django.core.management.commands.diffsettings.Command", Slow):
    execute_from_command_line(["manage.py", "run_on_user_dbs", "--workers", "2", "diffsettings"])
"""


def test_run_on_user_dbs__ctrl_c_stops_after_what_is_in_hand(site: Site) -> None:
    """Sent to all processes of the terminal, as a terminal does."""
    from tests.sites import PRELUDE, ROOT

    started = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + SLOW],
        cwd=ROOT,
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while sum(count or 0 for count in notes(site).values()) < USERS + 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(started.pid, signal.SIGINT)
    stdout, stderr = started.communicate(timeout=60)
    assert started.returncode == 1, (stdout, stderr)
    done = sum(count or 0 for count in notes(site).values()) - USERS
    assert 2 <= done < USERS
    assert f"{done} of {done} user databases done.\n" in stdout
    assert without_progress(stderr) == (
        f"CommandError: Stopped after {done} user databases; run it again for the others.\n"
    )
    assert '"outcome": "stopped"' in site.manage("show_user_dbs", "--runs", "--json").stdout
