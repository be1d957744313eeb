"""Django's tasks run as the user who was active when they were enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from asgiref.sync import sync_to_async

from dsud.context import Activation, Block, active_key
from dsud.exceptions import NoActiveUser, WrongUser

try:
    from django.tasks import Task, TaskResult
    from django.tasks.backends import dummy, immediate
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.exceptions import InvalidTask
except ImportError as error:
    raise ImportError(
        "dsud.contrib.tasks needs django.tasks, which came with Django 6.0."
        " Upgrade Django, or use dsud.contrib.celery."
    ) from error

#: The keyword argument that travels with a task: the key of its user, or None when there was none.
#: An argument, because that is the one thing which every backend stores and gives back.
USER = "dsud_user_key"


class UserTask(Task):  # type: ignore[type-arg]  # It is generic in the stubs only.
    """A task that carries the active user: enqueued in one process, run in another, also again."""

    __slots__ = ()

    def enqueue(self, *args: object, **kwargs: object) -> TaskResult[..., object]:
        """Queue the task up for the active user.

        Raises ``WrongUser`` when the arguments are those of another user's task.
        """
        return super().enqueue(*args, **_with_user(kwargs))

    async def aenqueue(self, *args: object, **kwargs: object) -> TaskResult[..., object]:
        """Queue the task up for the active user; see ``enqueue``."""
        # In a thread, because the user of a request may have to be looked up.
        with_user = await sync_to_async(_with_user)(kwargs)
        return await super().aenqueue(*args, **with_user)

    def call(self, *args: object, **kwargs: object) -> object:
        """Run the task as its user."""
        with _as_user_of(kwargs):
            return super().call(*args, **kwargs)

    async def acall(self, *args: object, **kwargs: object) -> object:
        """Run the task as its user."""
        async with _as_user_of(kwargs):
            return await super().acall(*args, **kwargs)


def _with_user(kwargs: Mapping[str, object]) -> dict[str, object]:
    """Add the active user; what a task got itself may be passed on by the same user only.

    Anything else would let a request choose whose task it is by the name of an argument.
    """
    key = active_key()
    given = kwargs.get(USER, key)
    if given is not None and given != key:
        if key is None:
            raise NoActiveUser
        raise WrongUser(owner=str(given), active=key, what="A task")
    return {**kwargs, USER: given}


def _as_user_of(kwargs: dict[str, object]) -> Block | nullcontext[None]:
    """Take the user out of the arguments; without one, the task is called where it stands."""
    if USER not in kwargs:
        return nullcontext()
    key = kwargs.pop(USER)
    return Block(Activation(key=None if key is None else str(key)))


class UserTasks(BaseTaskBackend):
    """Let the tasks of a backend run as users: put it before the backend in a class of both."""

    task_class = UserTask

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Refuse to replace a class of tasks that the backend needs."""
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            needed = vars(base).get("task_class", Task)
            if not issubclass(cls.task_class, needed):
                raise TypeError(
                    f"{cls.__name__} needs tasks of its own: set its task_class to a class of"
                    f" UserTask and {needed.__name__}."
                )

    def validate_task(self, task: Task) -> None:  # type: ignore[type-arg]
        """Refuse a task that was declared for another backend, because it would lose its user."""
        if not isinstance(task, UserTask):
            raise InvalidTask(
                f"{task.name} does not carry users. Declare it for this backend, with"
                f" @task(backend={self.alias!r})."
            )
        super().validate_task(task)


class ImmediateBackend(UserTasks, immediate.ImmediateBackend):
    """Django's backend that runs each task at once, as users."""


class DummyBackend(UserTasks, dummy.DummyBackend):
    """Django's backend that only remembers tasks, for tests; it remembers their users, too."""
