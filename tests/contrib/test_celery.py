"""A task of Celery's runs as who sent it: through a broker in a worker, again, in canvases, eagerly."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import path

from dsud import current_user_id, use_user
from dsud.contrib.celery import USER, enter, leave
from dsud.exceptions import NoActiveUser
from dsud.pool import pool
from tests.contrib.celery_site import app, stubborn, whoever, write
from tests.notes.models import Note
from tests.sites import ROOT, Site

# A worker in a process of its own


@contextmanager
def running(command: list[str], *, log: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a program until the block ends; its log is added to whatever goes wrong meanwhile."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    except Exception as error:
        error.add_note(f"The log of {command[0]}:\n{log.read_text()[-5000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()
            process.wait()


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Run a Redis of one's own on the loopback address and yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    command += ["--save", "", "--appendonly", "no", "--maxmemory", "64mb"]
    with running(command, log=directory / "redis.log", environment=dict(os.environ)):
        wait_for(port)
        yield f"redis://127.0.0.1:{port}"


def wait_for(port: int) -> None:
    """Wait up to ten seconds until something listens."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"Nothing listens on port {port}.")


@contextmanager
def worker(site: Site, environment: dict[str, str]) -> Iterator[None]:
    """Run a real worker with two processes of its own."""
    command = [sys.executable, "-m", "celery", "--app", "tests.contrib.celery_site", "worker"]
    command += ["--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with running(command, log=site.directory / "worker.log", environment=environment):
        yield


@pytest.fixture(scope="module", params=["redis", "memory"])
def seen(request: pytest.FixtureRequest, site: Site) -> dict[str, object]:
    """Return what became of every task of the scenario, with one broker."""
    environment = site.environment()
    with ExitStack() as stack:
        if request.param == "redis":
            url = stack.enter_context(redis(site.directory))
            environment |= {"DSUD_TEST_BROKER": f"{url}/0", "DSUD_TEST_RESULTS": f"{url}/1"}
            stack.enter_context(worker(site, environment))
        command = [sys.executable, "-m", "tests.contrib.celery_scenario", request.param]
        finished = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture
def alice_id(seen: dict[str, object]) -> int:
    return int(seen["keys"][0])


@pytest.fixture
def bob_id(seen: dict[str, object]) -> int:
    return int(seen["keys"][1])


ONE = ["one"]
RETRIED = [*ONE, "try 0", "try 1", "try 2", "try 3", "done"]


def test_task__runs_as_who_sent_it(seen: dict, alice_id: int, bob_id: int) -> None:
    assert seen["task"] == [alice_id, *ONE]
    assert seen["other user"] == [bob_id, "his"]


def test_retries__keep_the_user_whoever_asks_for_them(seen: dict, alice_id: int) -> None:
    assert seen["retries"] == [alice_id, *RETRIED]


def test_chain__runs_as_one_user(seen: dict, alice_id: int) -> None:
    first = [alice_id, *RETRIED, "first"]
    assert seen["chain"] == [first, [*first, "second"]]


def test_group__runs_as_one_user(seen: dict, alice_id: int) -> None:
    assert seen["group"] == [alice_id] * 3


def test_chord__runs_as_one_user(seen: dict, alice_id: int) -> None:
    assert seen["chord"] == [
        [alice_id] * 2,
        [alice_id, *RETRIED, "first", "second", "body"],
    ]


def test_links__run_as_the_user(seen: dict, alice_id: int) -> None:
    assert seen["link"] == [alice_id, *RETRIED, "first", "second", "body", "linking"]
    assert "linked" in seen["afterwards"]


def test_task_sent_by_name__runs_as_the_user(seen: dict, alice_id: int) -> None:
    assert seen["by name"][0] == alice_id
    assert "by name" in seen["by name"]


def test_failing_task__is_tried_and_reported_as_the_user(seen: dict, alice_id: int) -> None:
    assert seen["failure"] == ["LookupError", str(alice_id)]
    assert seen["afterwards"].count("tried") == 3
    assert seen["afterwards"].count("it failed") == 1
    assert seen["afterwards"].count("it failed as well") == 1


def test_replacing_task__runs_as_the_user(seen: dict, alice_id: int) -> None:
    user, *texts = seen["replaced"]
    # The last of them, unless the other process has just done what the failure before it calls for.
    assert (user, "replacement" in texts[-2:]) == (alice_id, True)


def test_tasks_sent_inside_a_task__belong_to_whoever_is_active_there(
    seen: dict, alice_id: int, bob_id: int
) -> None:
    assert seen["others"] == [alice_id, bob_id, alice_id]


def test_header__names_another_user(seen: dict, alice_id: int) -> None:
    assert seen["named"] == alice_id


def test_task_without_a_user__fails_when_it_touches_a_user_model(seen: dict) -> None:
    assert seen["nobody"] == ["NoActiveUser", str(NoActiveUser())]
    assert seen["nobody, shared"] is None


def test_deleted_users_task__ends_with_a_typed_error(seen: dict) -> None:
    eve = seen["keys"][2]
    message = (
        f"The database of user '{eve}' was deleted."
        f" Make a new one with `manage.py create_user_db --user {eve}`."
    )
    assert seen["deleted"] == ["UserDatabaseDoesNotExist", eve, message]


def test_what_a_killed_task_calls_back__has_no_user(seen: dict) -> None:
    if "killed" not in seen:
        pytest.skip("only a worker with processes can kill a task")
    assert seen["killed"] == ["TimeLimitExceeded", 1]
    assert seen["after death"] == ["NoActiveUser", str(NoActiveUser())]


# Eagerly, in this process


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.conf, "task_always_eager", True)


def test_eager_task__stays_with_its_caller(eager: None, alice: User) -> None:
    with use_user(alice):
        assert write.delay("eager").get() == [alice.pk, "eager"]
        assert current_user_id() == alice.pk
    assert whoever.delay().get() is None


def test_eager_task_of_nobody__fails_when_it_touches_a_user_model(eager: None, db: None) -> None:
    with pytest.raises(NoActiveUser):
        write.delay("whose").get()


def test_eager_task__obeys_its_header_and_leaves_it(eager: None, alice: User, bob: User) -> None:
    with use_user(alice):
        result = write.apply_async(["his"], headers={USER: str(bob.pk)})
        assert current_user_id() == alice.pk
        assert Note.objects.count() == 0

    assert result.get() == [bob.pk, "his"]
    assert current_user_id() is None


def test_eager_retries__keep_the_header(eager: None, alice: User, bob: User) -> None:
    with use_user(alice):
        result = stubborn.apply_async(["done"], headers={USER: str(bob.pk)})

    assert result.get() == [bob.pk, "try 0", "try 1", "try 2", "try 3", "done"]


def test_failing_task__leaves_nobody_active_behind(
    eager: None, transactional_db: None, alice: User
) -> None:
    result = write.apply_async([None], headers={USER: str(alice.pk)})

    assert isinstance(result.result, IntegrityError)
    assert current_user_id() is None
    assert pool.leased == 0


def test_task_of_nobody__never_takes_the_user_of_its_worker(alice: User) -> None:
    task = SimpleNamespace(request=SimpleNamespace(headers=None, is_eager=False))

    with use_user(alice):
        enter(task=task)
        inside = current_user_id()
        leave(task=task)
        assert (inside, current_user_id()) == (None, alice.pk)


# Sending


def sent_headers() -> dict[str, object]:
    """Take the message that was sent last out of the memory broker."""
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(block=False)
        message.ack()
        return message.headers


def test_message__carries_the_user(alice: User) -> None:
    with use_user(alice):
        write.delay("hers")

    assert sent_headers()[USER] == str(alice.pk)


def test_message__keeps_other_headers(alice: User) -> None:
    with use_user(alice):
        write.apply_async(["hers"], headers={"trace": "7"})

    headers = sent_headers()
    assert (headers["trace"], headers[USER]) == ("7", str(alice.pk))


def test_message_of_nobody__names_nobody() -> None:
    write.delay("whose")

    assert USER not in sent_headers()


def test_message__is_not_sent_when_the_user_cannot_be_known(alice: User, settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.DSUD_USER_RESOLVER = f"{__name__}.look_up"

    with pytest.raises(SynchronousOnlyOperation):
        async_to_sync(AsyncClient().get)("/send/")
    with pytest.raises(Empty):
        sent_headers()


def look_up(request: HttpRequest) -> User | None:
    return User.objects.first()


async def send(request: HttpRequest) -> HttpResponse:
    write.delay("whose")
    return HttpResponse()


urlpatterns = [path("send/", send)]
