"""Databases that are migrated when they are opened: by one process while others wait, or killed in the middle."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from tests.servers import gunicorn, manage
from tests.sites import Site
from tests.test_servers import column, submit

SETTINGS = "tests.outdated_settings"
PASSWORDS = {"password1": "q7-quiet-river", "password2": "q7-quiet-river"}

#: Requests for one user, sent at the same moment.
AT_ONCE = 8


def sign_up(address: str, *names: str) -> list[httpx.Cookies]:
    """Sign people up, and return what keeps each of them logged in."""
    found = []
    for name in names:
        with httpx.Client(base_url=address, timeout=60) as browser:
            submit(browser, "/sign-up/", username=name, **PASSWORDS)
            submit(browser, "/notes/new/", title=f"{name}'s", body="", tag_names="")
            found.append(httpx.Cookies(browser.cookies))
    return found


def together(visits: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    barrier = Barrier(len(visits))

    def visit(one: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(visits)) as pool:
        return list(pool.map(visit, visits))


@pytest.mark.server
def test_migrate__by_one_of_two_processes_that_are_asked_at_once(tmp_path: Path) -> None:
    manage(tmp_path, "migrate", settings=SETTINGS)
    with gunicorn(tmp_path, settings=SETTINGS) as address:
        people = sign_up(address, "alice", "bob")
    manage(tmp_path, "migrate_user_dbs", "evolving", "0001", settings=SETTINGS)

    with gunicorn(tmp_path, settings=SETTINGS) as address:

        def look_as(cookies: httpx.Cookies) -> Callable[[], httpx.Response]:
            return lambda: httpx.get(f"{address}/", cookies=cookies, timeout=60)

        answers = together([look_as(person) for person in people * AT_ONCE])

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    for index, answer in enumerate(answers):
        assert ("alice&#x27;s" if index % 2 == 0 else "bob&#x27;s") in answer.text
    files = sorted((tmp_path / "user_databases").glob("??/*/*/db.sqlite3"))
    assert len(files) == 2
    for file in files:
        assert column(file, "SELECT name FROM evolving_shelf ORDER BY id") == [
            "from python",
            "from sql",
        ]
    log = (tmp_path / "server.log").read_text()
    assert log.count("Migrated a user database when it was opened, by SQL and code.") == len(files)
    with closing(sqlite3.connect(tmp_path / "default.sqlite3")) as raw:
        rows = raw.execute("SELECT schema, last_error FROM dsud_userdatabase").fetchall()
    assert len(set(rows)) == 1
    assert rows[0] != ("", "")


#: A database is put back, opened, and its process killed; again and again.
KILLED = """
import random, shutil, sqlite3
from contextlib import closing
from django.test import modify_settings, override_settings
from dsud.connections import release
from dsud.pool import pool
from tests.histories import dump
from tests.notes.models import Note

TRIALS, chance = int(sys.argv[1]), random.Random(int(sys.argv[2]))

def close():
    release()
    pool.close_idle()
    connections.close_all()

def look(index=0):
    with use_user(user):
        assert list(Note.objects.values_list("text", flat=True)) == ["kept"]

def contents():
    found = dump(path)
    del found["evolving_item: rows"]
    return repr(found)

def put_back():
    close()
    for sidecar in ("db.sqlite3-wal", "db.sqlite3-shm"):
        path.with_name(sidecar).unlink(missing_ok=True)
    shutil.copyfile(path.with_name("before"), path)
    UserDatabase.objects.update(schema="")

def forked(after=None):
    close()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            look()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

with modify_settings(INSTALLED_APPS={"append": ["tests.evolving"]}), override_settings(
    DSUD_APPS=["notes", "library.Loan", "archive", "evolving"], DSUD_OUTDATED="migrate"
):
    call_command("migrate", verbosity=0)
    user = User.objects.create(username="alice")
    with use_user(user):
        Note.objects.create(text="kept")
    with open(os.devnull, "w") as nowhere:
        call_command("migrate_user_dbs", "evolving", "0001", workers=1, verbosity=0, stdout=nowhere)
    close()
    path = engine().path_of(str(user.pk))
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("INSERT INTO evolving_shelf (name) VALUES ('mine')")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(path, path.with_name("before"))

    before = contents()
    put_back()
    start = time.monotonic()
    assert forked() == 0
    lasts = time.monotonic() - start
    after = contents()
    assert before != after
    states = []
    for trial in range(TRIALS):
        put_back()
        forked(after=chance.uniform(lasts / 3, lasts * 1.1))
        states.append({before: "before", after: "after"}.get(contents(), "between"))
        assert states[-1] != "between", (trial, states)
        assert forked() == 0, trial
        assert contents() == after, trial
        close()
        # A process that was killed before it could tell the registry leaves it behind the file.
        assert UserDatabase.objects.get().schema in ("", schema.fingerprint())
    print(*states)
"""


def killed(directory: Path, trials: int, seed: int) -> list[str]:
    return Site(directory).run(KILLED, str(trials), str(seed)).split()


def test_kill__in_the_middle(tmp_path: Path) -> None:
    assert len(killed(tmp_path, trials=6, seed=1)) == 6


@pytest.mark.slow
@pytest.mark.once
def test_kill__in_the_middle_often(tmp_path: Path) -> None:
    assert set(killed(tmp_path, trials=40, seed=2)) == {"before", "after"}
