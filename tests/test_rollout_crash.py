"""Workers and their parent are killed at random moments: each database is before or after, never between."""

from pathlib import Path

import pytest

from tests.sites import Site

#: A fleet is put back, migrated by two processes, and one of them or their parent is killed; again and again.
SCRIPT = """
import random, shutil, signal, sqlite3, sys, time, traceback
from contextlib import closing
from pathlib import Path
from django.test import modify_settings, override_settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from dsud import fleet, rollout, schema
from dsud.engines import engine
from dsud.migrating import Migrator
from dsud.models import UserDatabase
from dsud.connections import release
from dsud.pool import pool
from tests.histories import dump

TRIALS, SEED = int(sys.argv[1]), int(sys.argv[2])
chance = random.Random(SEED)

def close():
    release()
    pool.close_idle()
    connections.close_all()

def migrate():
    migrator = Migrator(run=rollout.new_run(), snapshots="never")
    outcomes = rollout.roll_out(
        rollout.outdated(), migrator, rollout.Limits(), workers=fleet.Processes(2, "fork")
    )
    return [outcome.error for outcome in outcomes if outcome.error is not None]

def forked(work):
    close()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            status = len(work())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child

def children_of(pid):
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []

def wait_for_workers(group):
    # Workers whose parent is gone finish what they have in hand, and end.
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise SystemExit("workers do not end")

with modify_settings(INSTALLED_APPS={"append": ["tests.evolving"]}):
    with override_settings(DSUD_APPS=["notes", "library.Loan", "archive", "evolving"]):
        call_command("migrate", verbosity=0)
        users = [User.objects.create(username=f"user{number}") for number in range(8)]
        call_command("migrate_user_dbs", "evolving", "0001", workers=1, verbosity=0, stdout=open(os.devnull, "w"))
        close()
        paths = [engine().path_of(str(user.pk)) for user in users]
        for path in paths:
            with closing(sqlite3.connect(path, isolation_level=None)) as raw:
                raw.execute("INSERT INTO evolving_shelf (name) VALUES ('mine')")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copyfile(path, path.with_name("before"))

        def put_back():
            close()
            for path in paths:
                for sidecar in ("db.sqlite3-wal", "db.sqlite3-shm"):
                    path.with_name(sidecar).unlink(missing_ok=True)
                shutil.copyfile(path.with_name("before"), path)
            UserDatabase.objects.update(schema="", last_error="")

        def contents(path):
            found = dump(path)
            del found["evolving_item: rows"]
            return repr(found)

        before = {path: contents(path) for path in paths}
        put_back()
        start = time.monotonic()
        assert os.waitpid(forked(migrate), 0)[1] == 0
        lasts = time.monotonic() - start
        after = {path: contents(path) for path in paths}
        assert all(before[path] != after[path] for path in paths)
        halves = 0
        for trial in range(TRIALS):
            put_back()
            child = forked(migrate)
            time.sleep(chance.uniform(0, lasts * 1.1))
            workers = children_of(child)
            victim = chance.choice([child, *workers])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(child, 0)
            wait_for_workers(child)
            states = ["before" if contents(path) == before[path] else "after" if contents(path) == after[path] else "between" for path in paths]
            assert "between" not in states, (trial, states)
            halves += len(set(states)) == 2
            assert os.waitpid(forked(migrate), 0)[1] == 0, trial
            assert all(contents(path) == after[path] for path in paths), trial
            wanted = schema.fingerprint()
            assert {row.schema for row in UserDatabase.objects.all()} == {wanted}, trial
            close()
        print(f"{halves} of {TRIALS} were stopped half-way")
"""


def killed(directory: Path, trials: int, seed: int) -> int:
    output = Site(directory).run(SCRIPT, str(trials), str(seed))
    return int(output.split()[0])


def test_kill__at_random_moments(tmp_path: Path) -> None:
    killed(tmp_path, trials=6, seed=1)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("seed", range(2, 6))
def test_kill__at_a_hundred_random_moments(tmp_path: Path, seed: int) -> None:
    killed(tmp_path, trials=25, seed=seed)
