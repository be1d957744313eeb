"""Ctrl-C during a rollout, once and twice: what is in hand is done or undone, and a second run goes on."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.sites import PRELUDE, ROOT, Site

pytestmark = pytest.mark.slow

USERS = 12

MAKE = f"""
call_command("migrate", verbosity=0)
for number in range({USERS}):
    User.objects.create(username=f"person{{number}}")
call_command("migrate_user_dbs", "evolving", "0001", verbosity=0, stdout=open(os.devnull, "w"))
"""

#: The command, by workers who take their time inside the transaction of each database.
SLOW = """
from django.core.management import execute_from_command_line
from dsud.plans import Part
play = Part.play
def play_slowly(self, stage, **rest):
    if self.migration is not None and self.migration.name == "0003_rebuild" and stage.connection.alias.startswith("user_"):
        time.sleep(float(sys.argv[1]))
    play(self, stage, **rest)
Part.play = play_slowly
execute_from_command_line(["manage.py", "migrate_user_dbs", *sys.argv[2:]])
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path, settings="tests.evolving_settings")
    site.run(MAKE)
    return site


def states(site: Site) -> list[str]:
    """Return of each database whether it is before the migrations, after them or between."""
    found = []
    for path in site.databases():
        with closing(sqlite3.connect(path)) as raw:
            rows = raw.execute("SELECT name FROM django_migrations WHERE app = 'evolving'")
            names = len(rows.fetchall())
            columns = raw.execute("SELECT name FROM pragma_table_info('evolving_shelf')").fetchall()
        found.append({(1, 3): "before", (3, 4): "after"}.get((names, len(columns)), "between"))
    return found


def start(site: Site, seconds: float, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + SLOW, str(seconds), *arguments],
        cwd=ROOT,
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(site: Site, number: int) -> None:
    deadline = time.monotonic() + 60
    while states(site).count("after") < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Send Ctrl-C to all processes of the terminal, as a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def without_progress(text: str) -> str:
    return re.sub(r"^ *\d+% .*\n", "", text, flags=re.MULTILINE)


def last_run(site: Site) -> dict[str, object]:
    run: dict[str, object] = json.loads(site.manage("show_user_dbs", "--runs", "--json").stdout)[0]
    return run


def test_ctrl_c__stops_after_what_is_in_hand_and_a_second_run_goes_on(site: Site) -> None:
    assert states(site) == ["before"] * USERS
    process = start(site, 0.3, "--workers", "2")
    wait_for(site, 2)
    interrupt(process)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, (stdout, stderr)
    assert is_gone(process.pid)
    found = states(site)
    done = found.count("after")
    assert 2 <= done < USERS
    assert "between" not in found
    assert stdout == f"{done} of {done} user databases migrated.\n"
    assert without_progress(stderr) == (
        f"CommandError: Stopped after {done} user databases; run it again for the others.\n"
    )
    run = last_run(site)
    assert (run["outcome"], run["done"], run["failed"]) == ("stopped", done, 0)

    finished = site.manage("migrate_user_dbs", "--workers", "2")
    assert finished.stdout == (
        f"{USERS - done} of {USERS - done} user databases migrated, {done} were current already.\n"
    )
    assert states(site) == ["after"] * USERS


def test_ctrl_c__in_this_thread(site: Site) -> None:
    process = start(site, 0.3, "--workers", "1")
    wait_for(site, 1)
    interrupt(process)
    stdout, _ = process.communicate(timeout=60)
    found = states(site)
    assert (process.returncode, "between" in found) == (1, False)
    assert 1 <= found.count("after") < USERS
    assert stdout == f"{found.count('after')} of {found.count('after')} user databases migrated.\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c__twice_ends_it_at_once(site: Site, workers: str) -> None:
    process = start(site, 600, "--workers", workers)
    time.sleep(3)  # Until the databases in hand are in the middle of their transactions.
    interrupt(process)
    time.sleep(0.5)
    assert process.poll() is None
    interrupt(process)
    _, stderr = process.communicate(timeout=60)  # And not the minutes of what is in hand.
    assert process.returncode == 1
    assert without_progress(stderr) == (
        "CommandError: Stopped after 0 user databases; run it again for the others.\n"
    )
    assert is_gone(process.pid)
    assert states(site) == ["before"] * USERS
    assert last_run(site)["outcome"] == "stopped"
    finished = site.manage("migrate_user_dbs", "--workers", "2")
    assert finished.stdout == f"{USERS} of {USERS} user databases migrated.\n"
    assert states(site) == ["after"] * USERS
