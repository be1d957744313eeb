"""Processes and threads that share the work: in order, replaced when they die, stopped when asked."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from dsud import fleet, use_user
from dsud.context import current_user_id
from dsud.exceptions import DSUDError, UserDatabaseUnavailable
from dsud.fleet import Processes, Threads, processes, threads, workers
from dsud.pool import pool
from tests.leasing import people, texts
from tests.notes.models import Note
from tests.sites import PRELUDE, Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

BOTH = pytest.mark.parametrize("crew", [Processes(2), Threads(2)], ids=["processes", "threads"])


def keys_of(users: list[User]) -> list[str]:
    return [str(user.pk) for user in users]


# Who works


def test_choose__in_tests_this_very_thread_unless_others_are_named() -> None:
    assert workers.choose(None) is workers.choose(1) is workers.choose(4) is None
    assert workers.choose(Processes(4)) == Processes(4)
    assert workers.choose(Threads()) == Threads()
    with transaction.atomic():
        assert workers.choose(None) is None


def test_choose__outside_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "in_tests", lambda: False)
    assert workers.choose(3) == Processes(3)
    assert workers.choose(1) is None
    # Imitated, because threads of other tests may be there still.
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert workers.choose(None) == Processes()
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert workers.choose(None) == Threads()
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert workers.choose(None) == Threads()
    with transaction.atomic():
        assert workers.choose(None) is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (0, "0 workers do nothing. Ask for 1 or more."),
        (
            Processes(2, method="spawn"),
            (
                "A process that starts afresh in a test would reach the databases of the site."
                ' Pass Processes(method="fork") or workers=1.'
            ),
        ),
    ],
)
def test_choose__refused(asked: object, message: str) -> None:
    with pytest.raises(fleet.WorkersRefused) as caught:
        fleet.for_each(len, workers=asked)
    assert str(caught.value) == message


@BOTH
def test_choose__refused_in_a_transaction(crew: object) -> None:
    with transaction.atomic(), pytest.raises(fleet.WorkersRefused) as caught:
        fleet.for_each(len, workers=crew)
    assert str(caught.value) == (
        "Workers take no part in the transaction that is open here, and would wait for it."
        " Ask for them outside of it, or pass workers=1."
    )


# What workers do


@BOTH
def test_for_each__in_order_whoever_is_done_first(crew: object) -> None:
    users = people(12)

    def work(key: str) -> str:
        if key == str(users[0].pk):
            time.sleep(0.3)
        Note.objects.create(text=f"for {current_user_id()}")
        return key

    outcomes = list(fleet.for_each(work, workers=crew))
    assert [each.user_key for each in outcomes] == keys_of(users)
    assert [(each.result, each.error) for each in outcomes] == [
        (key, None) for key in keys_of(users)
    ]
    assert outcomes[0].seconds > 0.3
    for user in users:
        assert texts(user) == [user.username, f"for {user.pk}"]


@BOTH
def test_for_each__workers_begin_as_nobody(crew: object) -> None:
    alice, bob = people(2)
    with use_user(alice):
        outcomes = list(fleet.for_each(lambda key: current_user_id(), keys_of([bob]), workers=crew))
    assert [each.result for each in outcomes] == [bob.pk]


@BOTH
def test_for_each__read_only(crew: object) -> None:
    people(3)
    outcomes = list(
        fleet.for_each(lambda key: Note.objects.create(text="x"), workers=crew, read_only=True)
    )
    assert ["readonly" in str(each.error) for each in outcomes] == [True] * 3
    outcomes = list(fleet.for_each(lambda key: Note.objects.count(), workers=crew, read_only=True))
    assert [each.result for each in outcomes] == [1] * 3


@BOTH
def test_for_each__more_users_than_connections_may_be_open(
    crew: object, settings: pytest.MonkeyPatch
) -> None:
    settings.DSUD_MAX_OPEN = 2
    people(8)
    counts = fleet.for_each(lambda key: (Note.objects.count(), pool.slots), workers=crew)
    assert all(count == 1 and slots <= 2 for count, slots in (each.result for each in counts))


@pytest.mark.parametrize("crew", [1, Threads(2)], ids=["alone", "threads"])
def test_for_each__keeps_no_connection_to_who_is_met_once(crew: object) -> None:
    """Lest a walk over a hundred thousand users fills the pool, and memory with it."""
    warm, *_ = users = people(6)
    pool.close_idle()
    texts(warm)
    assert pool.idle == 1
    outcomes = fleet.for_each(lambda key: Note.objects.count(), keys_of(users)[1:], workers=crew)
    idle = [pool.idle for _ in outcomes]
    assert max(idle) <= 3
    assert pool.idle <= 1


@BOTH
def test_for_each__users_are_taken_as_they_are_needed(
    crew: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand keys are never in memory at once."""
    monkeypatch.setattr(processes, "AHEAD", 20)
    monkeypatch.setattr(threads, "AHEAD", 10)
    taken = 0

    def numbers() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 100_001):
            yield str(taken)

    outcomes = fleet.for_each(len, numbers(), workers=crew)
    for _ in range(200):
        assert next(outcomes).error is None
    outcomes.close()
    assert 200 <= taken < 700


@BOTH
def test_for_each__stops_after_what_is_in_hand_when_nobody_listens(crew: object) -> None:
    users = people(30)
    outcomes = fleet.for_each(slow_note, workers=crew)
    next(outcomes)
    outcomes.close()
    left = [user for user in users if len(texts(user)) == 1]
    assert 20 < len(left) < 30


def slow_note(key: str) -> None:
    time.sleep(0.05)
    Note.objects.create(text="done")


@BOTH
def test_for_each__ctrl_c(crew: object, tmp_path: Path) -> None:
    users = people(30)
    finished = tmp_path / "finished"  # Apart from the user databases, which are here, too.
    finished.mkdir()
    main = threading.main_thread().ident

    def work(key: str) -> None:
        slow_note(key)
        (finished / key).touch()

    def interrupt_soon() -> None:
        deadline = time.monotonic() + 60
        while len(list(finished.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    told: list[str] = []
    interrupter = threading.Thread(target=interrupt_soon)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        told.extend(each.user_key for each in fleet.for_each(work, workers=crew))
    interrupter.join()
    done = [str(user.pk) for user in users if texts(user)[1:] == ["done"]]
    assert 3 <= len(done) < 30
    assert sorted(told, key=int) == sorted(done, key=int)


# Processes only


def test_processes__are_others() -> None:
    people(6)
    pids = {each.result for each in fleet.for_each(where, workers=Processes(2))}
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids


def where(key: str) -> int:
    time.sleep(0.02)
    return os.getpid()


def test_processes__no_more_than_there_is_work() -> None:
    people(1)
    ((outcome),) = fleet.for_each(where, workers=Processes(50))
    assert outcome.result != os.getpid()


class Odd(Exception):
    """An error that cannot be made again from its arguments."""

    def __init__(self, one: str, *, other: int) -> None:
        super().__init__(one)


def test_processes__errors_come_back_with_their_causes() -> None:
    users = people(4)

    def fail(key: str) -> object:
        place = keys_of(users).index(key)
        if place == 0:
            try:
                raise KeyError("the cause")
            except KeyError as error:
                raise UserDatabaseUnavailable(key, "typed") from error
        if place == 1:
            try:
                1 / 0  # noqa: B018
            except ZeroDivisionError:
                raise ValueError("in passing")  # noqa: B904
        if place == 2:
            raise Odd("odd", other=1)
        return lambda: "no pickle"

    typed, plain, odd, unsent = (each.error for each in fleet.for_each(fail, workers=Processes(2)))
    assert isinstance(typed, UserDatabaseUnavailable)
    assert (typed.user_key, str(typed), repr(typed.__cause__)) == (
        str(users[0].pk),
        "typed",
        "KeyError('the cause')",
    )
    assert (repr(plain), repr(plain.__context__)) == (
        "ValueError('in passing')",
        "ZeroDivisionError('division by zero')",
    )
    assert plain.__notes__[0].startswith("In the worker:\n  File ")
    assert 'raise ValueError("in passing")' in plain.__notes__[0]
    assert (type(odd), str(odd)) == (fleet.WorkerError, "Odd: odd")
    assert 'raise Odd("odd", other=1)' in odd.__notes__[0]
    assert isinstance(unsent, fleet.WorkerError)
    assert str(unsent).startswith(
        "function: the result was not sent from the worker, because it cannot be pickled: "
    )
    assert str(unsent).endswith(" Return plain values, or pass workers=1")


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os._exit(7), "ended with exit code 7"),
        (lambda: os.kill(os.getpid(), 40), "was killed by signal 40"),
    ],
    ids=["killed", "left", "odd"],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_processes__one_that_dies_fails_what_it_had_in_hand(
    end: object, how: str, read_only: bool
) -> None:
    users = people(20)
    victims = keys_of([users[3], users[4], users[11]])

    def work(key: str) -> int:
        if key in victims:
            end()
        return Note.objects.count()

    running = fleet.for_each(work, workers=Processes(2), read_only=read_only)
    outcomes = list(running)
    assert [each.user_key for each in outcomes] == keys_of(users)
    assert [each.result for each in outcomes if each.error is None] == [1] * 17
    assert list(running.failures) == victims
    assert str(running.failures[victims[0]]) == (
        f"The worker process that had the database of user '{victims[0]}' in hand {how}."
        " What it was doing is either done or undone, transaction by transaction. Run it again."
    )


def test_processes__killed_from_outside(tmp_path: Path) -> None:
    users = people(40)

    def work(key: str) -> int:
        (tmp_path / key).write_text(str(os.getpid()))
        time.sleep(0.03)
        Note.objects.create(text="done")
        return os.getpid()

    outcomes = fleet.for_each(work, workers=Processes(2))
    victim = next(outcomes).result
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    rest = list(outcomes)
    assert len(rest) == 39
    # One at most, because it may have been killed between two.
    assert len(outcomes.failures) <= 1
    for user in users:
        if str(user.pk) not in outcomes.failures:
            assert texts(user) == [user.username, "done"]
    assert {each.result for each in rest if each.result} - {victim}


def test_processes__what_stops_python_stops_everybody() -> None:
    people(8)
    with pytest.raises(SystemExit) as caught:
        list(fleet.for_each(lambda key: sys.exit(3), workers=Processes(2)))
    assert caught.value.code == 3


def test_processes__that_never_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsud.fleet import member

    people(2)
    monkeypatch.setattr(member, "serve", lambda *arguments: os._exit(9))
    with pytest.raises(fleet.WorkersFailed) as caught:
        list(fleet.for_each(len, workers=Processes(2)))
    assert str(caught.value) == (
        "4 worker processes ended before they had begun; the last one ended with exit code 9."
        " What they have printed says why."
    )


def test_processes__users_that_cannot_be_read() -> None:
    def broken() -> Iterator[str]:
        yield "1"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(fleet.for_each(len, broken(), workers=Processes(2)))


def test_processes__are_gone_afterwards() -> None:
    people(4)
    pids = [each.result for each in fleet.for_each(where, workers=Processes(2))]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes__have_connections_of_their_own(tmp_path: Path) -> None:
    """Lest two processes talk on one connection to ``default``."""
    people(2)
    connection.ensure_connection()
    mine = id(connection.connection)

    def work(key: str) -> bool:
        User.objects.count()
        return id(connection.connection) != mine

    assert [each.result for each in fleet.for_each(work, workers=Processes(2))] == [True, True]
    assert User.objects.count() == 2


# As operators run them


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.run(
        """
call_command("migrate", verbosity=0)
from tests.notes.models import Note
for number in range(12):
    with use_user(User.objects.create(username=f"person{number}")):
        Note.objects.create(text=f"of {number}")
"""
    )
    return site


SPAWNED = """
from dsud import fleet
from tests.fleet_work import note_count
if __name__ == "__main__":
    outcomes = list(fleet.for_each(note_count, workers=fleet.Processes(2, method="spawn")))
    assert [each.error for each in outcomes] == [None] * 12, outcomes
    assert [each.result[0] for each in outcomes] == [1] * 12
    assert os.getpid() not in {each.result[1] for each in outcomes}
    try:
        list(fleet.for_each(lambda key: key, workers=fleet.Processes(2, method="spawn")))
    except fleet.NotPicklable as error:
        print(error)
"""


@pytest.mark.slow
def test_processes__that_start_afresh(site: Site) -> None:
    script = site.directory / "spawned.py"
    # What a fresh process runs again must stand below the question whether it is the first.
    script.write_text(PRELUDE.replace("django.setup()", "django.setup()\n") + SPAWNED)
    finished = site.start([sys.executable, str(script)])
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("<function <lambda> at ")
    assert finished.stdout.endswith(" Give a function of a module, workers=1, or Threads().\n")


PARENT = """
from dsud import fleet
def work(key):
    with open(f"{sys.argv[1]}/pid-{os.getpid()}", "w"):
        time.sleep(0.1)
print("begun", flush=True)
list(fleet.for_each(work, workers=2))
"""


@pytest.mark.slow
def test_processes__end_with_a_parent_that_is_killed(site: Site) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + PARENT, str(site.directory)],
        env=site.environment(),
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    pids: list[int] = []
    deadline = time.monotonic() + 30
    while len(pids) < 2 and time.monotonic() < deadline:
        pids = [int(path.name[4:]) for path in site.directory.glob("pid-*")]
        time.sleep(0.01)
    assert len(pids) == 2
    parent.kill()
    parent.communicate()
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_errors__can_be_pickled() -> None:
    import pickle

    for error in (
        fleet.WorkerDied("1", "why"),
        fleet.WorkerError("Odd", "why"),
        fleet.WorkersFailed("why"),
        fleet.NotPicklable("why"),
        fleet.WorkersRefused("why"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, DSUDError)
        assert str(again) == str(error)
