"""Many processes at once, and kill -9 at any moment: each database is absent or complete, one per user."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.sites import Site

#: What scripts need to kill themselves, and to see what is left.
TOOLS = """
import gc, json, random, shutil, sqlite3, threading
from contextlib import nullcontext
from tests.notes.models import Note

class KilledAt:
    '''Kill this process at its n-th call, whatever it is calling then.'''
    def __init__(self, moment):
        self.left = moment
    def __enter__(self):
        sys.setprofile(self.count)
        return self
    def count(self, frame, event, argument):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def __exit__(self, *raised):
        sys.setprofile(None)
        self.calls = -self.left

def calls_of(run):
    '''Return how many calls a function makes in a child that is as warm as those to be killed.'''
    reader, writer = os.pipe()
    def count(index):
        with KilledAt(0) as clock:
            run()
        os.write(writer, str(clock.calls).encode())
    assert in_children(1, count) == [0]
    return int(os.read(reader, 100))

def write(user, text):
    with use_user(user):
        Note.objects.create(text=text)

def texts(user):
    with use_user(user):
        return list(Note.objects.values_list("text", flat=True))

def survey(key):
    '''Say what is in a user's place, and fail for a database that is not complete.'''
    place = engine().path_of(key)
    directory = list(engine().location.glob("??/" + key))
    left = [path.name for path in directory[0].iterdir()] if directory else []
    if place is not None:
        with sqlite3.connect(place) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT user_key FROM dsud_identity").fetchall() == [(key,)]
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            assert tables >= {"notes_note", "notes_tag", "notes_note_tags", "library_loan"}, tables
        database.close()
    return place is not None, any(name.startswith("new-") for name in left)

def users(number):
    made = [User(username=f"user{index}") for index in range(number)]
    return User.objects.bulk_create(made)
"""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a migrated ``default``."""
    directory = tmp_path_factory.mktemp("migrated")
    Site(directory).run('call_command("migrate", verbosity=0)')
    return directory


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Site:
    """Return a new site without users."""
    shutil.copytree(migrated, tmp_path / "site")
    return Site(tmp_path / "site")


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


# Exactly once


def test_first_use__by_32_processes_makes_exactly_one(site: Site) -> None:
    site.run(
        TOOLS
        + """
for user in users(2):
    def use(index):
        time.sleep(max(0, start - time.monotonic()))
        with transaction.atomic() if user.pk == 2 else nullcontext():
            write(user, str(index))
    start = time.monotonic() + 0.3
    statuses = in_children(32, use)
    assert statuses == [0] * 32, statuses
    assert sorted(map(int, texts(user))) == list(range(32))
assert list(UserDatabase.objects.values_list("user_key", "state")) == [("1", "ready"), ("2", "ready")]
"""
    )
    databases = site.databases()
    assert {path.parents[1].name for path in databases} == {"1", "2"}
    for database in databases:
        assert tables(database) >= {"notes_note", "notes_tag", "notes_note_tags", "library_loan"}
        assert sorted(path.name for path in database.parents[1].iterdir()) == ["1"]


def test_template__eight_processes_at_once_build_one(site: Site) -> None:
    site.run(
        TOOLS
        + """
migrate = schema.migrate_template
def counted(settings):
    with open(engine().location / "built", "a") as file:
        file.write(f"{os.getpid()}\\n")
    migrate(settings)
schema.migrate_template = counted
made = users(8)
assert in_children(8, lambda index: write(made[index], "x")) == [0] * 8
assert [texts(user) for user in made] == [["x"]] * 8
"""
    )
    assert len((site.location / "built").read_text().split()) == 1
    template = sorted(path.name for path in (site.location / ".template").iterdir())
    assert [name.partition(".")[2] for name in template] == ["sqlite3"]
    assert len(site.databases()) == 8


@pytest.mark.parametrize("mode", ["IMMEDIATE", "DEFERRED"])
def test_first_use__two_transactions_at_once(site: Site, mode: str) -> None:
    site.run(
        TOOLS
        + """
connections["default"].transaction_mode = sys.argv[1]
provisioning.initialize_location("1")
provisioning.prepare()
ends = ["commits", "rolls back", "is killed"]
for user, end in zip(users(3), ends):
    reader, writer = os.pipe()
    def use(index):
        if index == 0:
            with transaction.atomic():
                write(user, "first")
                os.write(writer, b"x")
                time.sleep(0.1)
                if end == "is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                transaction.set_rollback(end == "rolls back")
        else:
            os.read(reader, 1)
            with transaction.atomic():
                write(user, "second")
    statuses = in_children(2, use)
    assert statuses == [-9 if end == "is killed" else 0, 0], statuses
    expected = ["first", "second"] if end == "commits" else ["second"]
    assert texts(user) == expected, (end, texts(user))
    assert survey(str(user.pk)) == (True, False)
assert {row.state for row in UserDatabase.objects.all()} == {"ready"}
""",
        mode,
    )
    assert len(site.databases()) == 3


def test_first_use__user_who_exists_only_in_another_transaction(site: Site) -> None:
    site.run(
        TOOLS
        + """
from dsud.exceptions import UserDatabaseDoesNotExist
came, went = os.pipe(), os.pipe()
def use(index):
    if index == 0:
        with transaction.atomic():
            user = User.objects.create(pk=1, username="alice")
            write(user, "x")
            os.write(came[1], b"x")
            os.read(went[0], 1)
    else:
        os.read(came[0], 1)
        try:
            texts(1)
        except UserDatabaseDoesNotExist as error:
            assert str(error).startswith("There is no user '1'"), error
        else:
            raise AssertionError("reached what is not committed")
        finally:
            os.write(went[1], b"x")
assert in_children(2, use) == [0, 0]
assert texts(1) == ["x"]
"""
    )


def test_rollback__thread_that_ends_in_mid_transaction(site: Site) -> None:
    site.run(
        TOOLS
        + """
(user,) = users(1)
def vanish():
    transaction.atomic().__enter__()
    write(user, "ghost")
thread = threading.Thread(target=vanish)
thread.start()
thread.join()
gc.collect()
assert survey("1") == (False, False)
assert texts(user) == []
"""
    )


def test_rollback__process_that_ends_in_mid_transaction(site: Site) -> None:
    site.run(TOOLS + '(user,) = users(1); transaction.atomic().__enter__(); write(user, "ghost")')
    site.run(TOOLS + 'assert survey("1") == (False, False); assert texts(1) == []')


def test_modes__under_any_umask(site: Site) -> None:
    site.run(
        TOOLS
        + """
for umask in (0, 0o777):
    os.umask(umask)
    user = User.objects.create(username=str(umask))
    with use_user(user):
        Note.objects.create(text="x")
        made = [engine().location, *engine().location.rglob("*")]
        assert {"db.sqlite3-wal", "db.sqlite3-shm"} <= {path.name for path in made}
        for path in made:
            mode = path.stat().st_mode & 0o777
            assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))
    assert os.umask(umask) == umask
"""
    )


# Killed


@pytest.mark.once
def test_kill__at_every_step_of_provisioning(site: Site) -> None:
    report = json.loads(
        site.run(
            TOOLS
            + """
steps = 250
made = users(steps + 2)
write(made[-1], "warm")
calls = calls_of(lambda: provisioning.provide(str(made[-2].pk)))
def provide(index):
    with KilledAt(1 + index * calls // steps):
        provisioning.provide(str(made[index].pk))
statuses = []
for first in range(0, steps, 10):
    statuses += in_children(10, lambda index: provide(first + index))
# The last ones may be done before their turn, because not all make as many calls.
assert set(statuses) <= {-9, 0} and statuses.count(-9) >= 220, statuses
found = [survey(str(user.pk)) for user in made[:steps]]
states = dict(UserDatabase.objects.values_list("user_key", "state"))
registered = [str(user.pk) in states for user in made[:steps]]
assert not any(row and not there for row, (there, _) in zip(registered, found))
def use(index):
    for user in made[:steps]:
        assert texts(user) == []
        write(user, "mine")
        assert texts(user) == ["mine"]
assert in_children(1, use) == [0]
assert {survey(str(user.pk)) for user in made} == {(True, False)}
print(json.dumps({
    "nothing": found.count((False, False)),
    "half built": found.count((False, True)),
    "published": found.count((True, False)),
    "registered": sum(registered),
}))
"""
        )
    )
    # The moments were spread over all of it.
    assert report["nothing"] > 20
    assert report["half built"] > 1
    assert report["published"] > 20
    assert report["registered"] < report["published"]
    assert len(site.databases()) == 252


def test_kill__after_any_time_from_outside(site: Site) -> None:
    tried = int(
        site.run(
            TOOLS
            + """
choice = random.Random(int(sys.argv[1]))
made = users(1000)
write(made[0], "warm")
start = time.monotonic()
assert in_children(1, lambda _: [provisioning.provide(str(user.pk)) for user in made[-10:]]) == [0]
longest = (time.monotonic() - start) / 2
pending = [str(user.pk) for user in made[1:-10]]
tried = set()
for _ in range(60):
    connections.close_all()
    child = os.fork()
    if child == 0:
        for key in pending:
            provisioning.provide(key)
        os._exit(0)
    time.sleep(choice.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    tried.add(pending[0])
    while survey(pending[0])[0]:
        pending.pop(0)
        tried.add(pending[0])
    assert not any(survey(key)[0] for key in pending[:3])
def use(index):
    for key in tried:
        assert texts(key) == []
assert in_children(1, use) == [0]
assert {survey(key) for key in tried} == {(True, False)}
print(len(tried))
""",
            "20261122",
        )
    )
    assert tried > 1


def test_kill__while_the_template_is_built(site: Site) -> None:
    site.run(
        TOOLS
        + """
steps = 12
made = users(steps + 2)
provisioning.initialize_location("1")
calls = calls_of(provisioning.prepare)
for index in range(steps):
    shutil.rmtree(engine().location / ".template", ignore_errors=True)
    def build(_):
        with KilledAt(1 + index * calls // steps):
            provisioning.prepare()
    assert in_children(1, build) == [-signal.SIGKILL]
    if index % 3 == 2:  # The next maker comes upon what is left.
        assert in_children(1, lambda _: write(made[index], "x")) == [0]
        assert texts(made[index]) == ["x"]
        assert survey(str(made[index].pk)) == (True, False)
        names = [path.suffix for path in (engine().location / ".template").iterdir()]
        assert names == [".sqlite3"], names
"""
    )


def test_kill__inside_the_transaction_of_a_sign_up(site: Site) -> None:
    report = json.loads(
        site.run(
            TOOLS
            + """
steps = 60
write(users(1)[0], "warm")
def sign_up(key):
    with transaction.atomic():
        write(User.objects.create(pk=key, username=f"new{key}"), "welcome")
def killed_sign_up(key, moment):
    with KilledAt(moment):
        sign_up(key)
calls = calls_of(lambda: sign_up(1000))
keys = range(2000, 2000 + steps)
for first in range(0, steps, 10):
    def die(index):
        killed_sign_up(keys[first + index], 1 + (first + index) * calls // steps)
    assert set(in_children(10, die)) <= {-9, 0}
outcomes = []
for key in keys:
    exists = User.objects.filter(pk=key).exists()
    there, half = survey(str(key))
    assert exists or not there, "a database without its user"
    outcomes.append((exists, there, half))
def use(_):
    for key, (exists, there, _) in zip(keys, outcomes):
        if not exists:
            User.objects.create(pk=key, username=f"again{key}")
        # What was written before the commit is there, unless the kill came in the very moment after it.
        assert texts(key) == (["welcome"] if there else []), (exists, there, texts(key))
assert in_children(1, use) == [0]
assert {survey(str(key)) for key in keys} == {(True, False)}
print(json.dumps({
    "rolled back": sum(not exists for exists, _, _ in outcomes),
    "rolled back with leftovers": sum(half and not exists for exists, _, half in outcomes),
    "committed": sum(exists and not there for exists, there, _ in outcomes),
    "published": sum(there for _, there, _ in outcomes),
}))
"""
        )
    )
    assert report["rolled back"] > 10
    assert report["rolled back with leftovers"] > 5
    assert report["published"] > 2
    # Few moments are between the commit and the publication.
    assert report["committed"] < 10


def test_kill__inside_the_sign_up_of_a_key_that_is_issued_again(site: Site) -> None:
    """The earlier user's file, which `default` has forgotten, is never the new one's."""
    site.run(
        TOOLS
        + """
steps = 40
write(users(1)[0], "warm")
def forget(key):
    with use_user(User.objects.create(pk=key, username=str(key))):
        Note.objects.create(text="earlier")
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM auth_user WHERE id = %s", [key])
        cursor.execute("DELETE FROM dsud_userdatabase WHERE user_key = %s", [str(key)])
def sign_up(key):
    with transaction.atomic():
        User.objects.create(pk=key, username=str(key))
def killed_sign_up(key, moment):
    with KilledAt(moment):
        sign_up(key)
forget(1000)
calls = calls_of(lambda: sign_up(1000))
keys = range(2000, 2000 + steps)
for first in range(0, steps, 10):
    def die(index):
        key = keys[first + index]
        forget(key)
        killed_sign_up(key, 1 + (first + index) * calls // steps)
    assert set(in_children(10, die)) <= {-9, 0}
def use(_):
    for key in keys:
        if not User.objects.filter(pk=key).exists():
            User.objects.create(pk=key, username=str(key))
        assert texts(key) == [], texts(key)
assert in_children(1, use) == [0]
"""
    )
