"""A task of Django's runs as who enqueued it: at once, in a worker, again, or not at all."""

import json
import pickle
from dataclasses import dataclass

import django
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from dsud import current_user_id, use_user
from dsud.exceptions import NoActiveUser, UserDatabaseDoesNotExist, WrongUser
from tests.notes.models import Note
from tests.sites import Site

pytest.importorskip("django.tasks", reason="django.tasks came with Django 6.0")

from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus, task, task_backends
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.backends.immediate import ImmediateBackend as PlainImmediateBackend
from django.tasks.exceptions import InvalidTask

from dsud.contrib.tasks import USER, UserTask, UserTasks


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedTask(Task):
    """A task of another package's backend, with a field of its own."""

    retries: int = 0


class LimitedUserTask(UserTask, LimitedTask):
    """The same, carrying users."""


class LimitedBackend(PlainImmediateBackend):
    """A backend of another package."""

    task_class = LimitedTask


class LimitedUserBackend(UserTasks, LimitedBackend):
    """The same, carrying users."""

    task_class = LimitedUserTask


def enqueue(request: HttpRequest) -> HttpResponse:
    return HttpResponse(whoever.enqueue().return_value)


async def aenqueue(request: HttpRequest) -> HttpResponse:
    result = await whoever.aenqueue()
    return HttpResponse(result.return_value)


urlpatterns = [path("enqueue/", enqueue), path("aenqueue/", aenqueue)]


TASKS = {
    "default": {"BACKEND": "dsud.contrib.tasks.ImmediateBackend"},
    "remembered": {"BACKEND": "dsud.contrib.tasks.DummyBackend"},
    "limited": {"BACKEND": f"{__name__}.LimitedUserBackend"},
    "plain": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"},
}

with override_settings(TASKS=TASKS):

    @task
    def write(text: str) -> list[object]:
        Note.objects.create(text=text)
        return [current_user_id(), *Note.objects.values_list("text", flat=True)]

    @task
    async def awrite(text: str) -> int | None:
        await Note.objects.acreate(text=text)
        return current_user_id()

    @task
    def whoever() -> int | None:
        return current_user_id()

    @task(takes_context=True)
    def try_again(context: TaskContext, tries: int) -> int:
        result = context.task_result
        if tries > 1:
            result.task.enqueue(tries - 1, **result.kwargs)
            raise LookupError(f"{tries} tries left")
        return Note.objects.create(text="at last").pk

    @task(backend="limited")
    def write_limited(text: str) -> int:
        return Note.objects.create(text=text).pk

    @task(backend="plain")
    def without_users() -> None:
        return None


@pytest.fixture(autouse=True)
def backends(settings) -> None:
    settings.TASKS = TASKS


def perform(result: TaskResult) -> object:
    """Do what a worker does with a stored task."""
    return result.task.call(*result.args, **result.kwargs)


# With Django's own backends


def test_immediate_task__runs_as_the_active_user(alice: User, bob: User) -> None:
    with use_user(alice):
        Note.objects.create(text="there before")
        result = write.enqueue("hers")
    with use_user(bob):
        other = write.enqueue("his")

    assert result.return_value == [alice.pk, "there before", "hers"]
    assert other.return_value == [bob.pk, "his"]
    assert current_user_id() is None


def test_stored_task__runs_as_who_enqueued_it(alice: User, bob: User) -> None:
    with use_user(alice):
        result = write.using(backend="remembered").enqueue("hers")
    with use_user(bob):
        returned = perform(result)
        assert current_user_id() == bob.pk
        assert Note.objects.count() == 0

    assert returned == [alice.pk, "hers"]
    assert task_backends["remembered"].results[0].kwargs == {USER: str(alice.pk)}


def test_task_enqueued_by_nobody__fails_when_it_touches_a_user_model(db: None) -> None:
    result = write.enqueue("whose")

    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is NoActiveUser


def test_task_enqueued_by_nobody__is_nobodys_wherever_it_runs(alice: User) -> None:
    result = write.using(backend="remembered").enqueue("whose")
    unconcerned = whoever.using(backend="remembered").enqueue()

    with use_user(alice):
        with pytest.raises(NoActiveUser):
            perform(result)
        assert perform(unconcerned) is None
        assert Note.objects.count() == 0


def test_task_that_enqueues_itself_again__keeps_its_user(alice: User) -> None:
    with use_user(alice):
        results = []
        again = try_again.using(backend="remembered")
        again.enqueue(3)
    stored = task_backends["remembered"].results
    for result in stored:
        try:
            results.append(
                result.task.call(TaskContext(task_result=result), *result.args, **result.kwargs)
            )
        except LookupError as error:
            results.append(str(error))

    assert results == ["3 tries left", "2 tries left", 1]
    assert {result.kwargs[USER] for result in stored} == {str(alice.pk)}


def test_enqueue__refuses_the_user_of_somebody_else(alice: User, bob: User) -> None:
    with use_user(alice), pytest.raises(WrongUser) as raised:
        write.enqueue("forged", **{USER: str(bob.pk)})

    assert (raised.value.owner, raised.value.active) == (str(bob.pk), str(alice.pk))


def test_enqueue__refuses_a_user_from_nobody(alice: User) -> None:
    with pytest.raises(NoActiveUser):
        write.enqueue("forged", **{USER: str(alice.pk)})


def test_enqueue__leaves_nobodys_task_to_nobody(alice: User) -> None:
    with use_user(alice):
        result = whoever.using(backend="remembered").enqueue(**{USER: None})

    assert perform(result) is None


def test_deleted_users_task__ends_with_a_typed_error(transactional_db: None) -> None:
    user = User.objects.create_user("short-lived")
    with use_user(user):
        result = write.using(backend="remembered").enqueue("too late")
    key = str(user.pk)
    user.delete()

    with pytest.raises(UserDatabaseDoesNotExist) as raised:
        perform(result)
    assert raised.value.user_key == key

    with use_user(key):
        failed = write.enqueue("too late")
    assert failed.errors[0].exception_class is UserDatabaseDoesNotExist


def test_call__without_enqueueing_stays_with_the_caller(alice: User) -> None:
    with use_user(alice):
        assert write.call("directly") == [alice.pk, "directly"]
        assert write.func("as a function") == [alice.pk, "directly", "as a function"]


def test_exception_in_a_task__restores_the_callers_user(alice: User, bob: User) -> None:
    with use_user(alice):
        result = write.using(backend="remembered").enqueue("one", "too many")
    with use_user(bob):
        with pytest.raises(TypeError):
            perform(result)
        assert current_user_id() == bob.pk


# Asynchronously


def test_aenqueue__carries_the_user_of_an_async_view(alice: User, settings) -> None:
    settings.ROOT_URLCONF = __name__
    client = Client()
    client.force_login(alice)

    assert client.get("/enqueue/").content == b"%d" % alice.pk
    assert client.get("/aenqueue/").content == b"%d" % alice.pk


def test_coroutine__runs_as_its_user(alice: User, bob: User) -> None:
    with use_user(alice):
        result = awrite.using(backend="remembered").enqueue("awaited")

    async def work() -> list[object]:
        async with use_user(bob):
            return [
                await result.task.acall(*result.args, **result.kwargs),
                current_user_id(),
                await Note.objects.acount(),
            ]

    assert async_to_sync(work)() == [alice.pk, bob.pk, 0]
    assert perform(result) == alice.pk


# With backends of others


def test_task_of_another_backend__is_refused() -> None:
    with pytest.raises(InvalidTask) as raised:
        without_users.using(backend="default")

    assert str(raised.value) == (
        "without_users does not carry users. Declare it for this backend, with @task(backend='default')."
    )


def test_task_moved_to_another_backend__keeps_its_user(alice: User) -> None:
    with use_user(alice):
        result = write.using(backend="plain").enqueue("moved")

    assert perform(result) == [alice.pk, "moved"]


def test_task_moved_to_another_backend__is_still_judged() -> None:
    with pytest.raises(InvalidTask, match="Queue 'elsewhere' is not valid for backend"):
        write.using(queue_name="elsewhere")


def test_backend_with_tasks_of_its_own__must_combine_them() -> None:
    with pytest.raises(TypeError) as raised:

        class Hasty(UserTasks, LimitedBackend):
            pass

    assert str(raised.value) == (
        "Hasty needs tasks of its own: set its task_class to a class of UserTask and LimitedTask."
    )


def test_backend_with_tasks_of_its_own__carries_users(alice: User) -> None:
    with use_user(alice):
        result = write_limited.enqueue("limited")

    assert isinstance(result.task, LimitedTask)
    with use_user(alice):
        assert Note.objects.get(pk=result.return_value).text == "limited"


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 forwards the decorator's arguments")
def test_argument_of_the_decorator__reaches_the_class_of_tasks() -> None:
    assert task(backend="limited", retries=3)(write.func).retries == 3


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 made tasks picklable")
def test_pickled_task__still_carries_users(alice: User) -> None:
    copy = pickle.loads(pickle.dumps(write.using(priority=7)))

    assert copy.priority == 7
    with use_user(alice):
        assert copy.enqueue("pickled").return_value == [alice.pk, "pickled"]


def test_backends__are_backends_of_django() -> None:
    assert isinstance(task_backends["default"], PlainImmediateBackend)
    assert isinstance(task_backends["remembered"], BaseTaskBackend)
    assert [problem for backend in task_backends.all() for problem in backend.check()] == []


# With a worker of another package, in a process of its own


def test_worker__runs_stored_tasks_as_their_users(site: Site) -> None:
    pytest.importorskip("django_tasks_db")
    people = json.loads(
        site.run("""
import json
from tests.contrib.stored_tasks import count_users, try_again, write
people = [User.objects.create_user(name) for name in ("task-alice", "task-bob", "task-eve")]
alice, bob, eve = people
ids = {}
with use_user(alice):
    ids["hers"] = write.enqueue("hers").id
    ids["again"] = try_again.enqueue(3).id
with use_user(bob):
    ids["his"] = write.enqueue("his").id
with use_user(eve):
    ids["deleted"] = write.enqueue("too late").id
    ids["deleted, shared"] = count_users.enqueue().id
ids["nobody"] = write.enqueue("whose").id
ids["nobody, shared"] = count_users.enqueue().id
keys = [str(user.pk) for user in people]
eve.delete()
print(json.dumps([ids, keys]))
""")
    )

    worker = site.manage("db_worker", "--backend=stored", "--batch", "--no-startup-delay")
    assert worker.returncode == 0, worker.stderr

    alice, bob, _ = people[1]
    outcomes = json.loads(
        site.run(
            """
import json
from django_tasks_db.models import DBTaskResult
from tests.notes.models import Note
ids, keys = json.loads(sys.argv[1])
outcomes = {}
for name, pk in ids.items():
    row = DBTaskResult.objects.get(pk=pk)
    outcomes[name] = row.return_value or row.exception_class_path
outcomes["tries"] = [
    (row.status, row.args_kwargs)
    for row in DBTaskResult.objects.filter(task_path__endswith="try_again").order_by("enqueued_at")
]
outcomes["notes"] = []
for key in keys[:2]:
    with use_user(key):
        outcomes["notes"].append(sorted(Note.objects.values_list("text", flat=True)))
print(json.dumps(outcomes))
""",
            json.dumps(people),
        )
    )

    assert outcomes == {
        "hers": [int(alice), "hers"],
        "his": [int(bob), "his"],
        "again": "builtins.LookupError",
        "deleted": "dsud.exceptions.UserDatabaseDoesNotExist",
        "deleted, shared": 2,
        "nobody": "dsud.exceptions.NoActiveUser",
        "nobody, shared": 2,
        "tries": [
            ["FAILED", {"args": [3], "kwargs": {USER: alice}}],
            ["FAILED", {"args": [2], "kwargs": {USER: alice}}],
            ["SUCCESSFUL", {"args": [1], "kwargs": {USER: alice}}],
        ],
        "notes": [["at last", "hers"], ["his"]],
    }
