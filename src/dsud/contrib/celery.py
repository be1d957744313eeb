"""Celery's tasks run as the user who was active when they were sent."""

from __future__ import annotations

import celery
from celery import signals
from celery.result import AsyncResult

from dsud.context import Activation, Block, active_key

#: The header of a message that travels with a task, its retries included: the key of its user.
USER = "dsud_user_key"

_BLOCK = "dsud_block"


class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types.
    """A Celery app whose tasks belong to users."""

    def send_task(self, *args: object, **options: object) -> AsyncResult:
        """Send a task for the active user, unless its headers name one, as those of a retry do.

        Done here and not in ``before_task_publish``, because Celery swallows what signals raise.
        """
        headers = dict(options.pop("headers", None) or {})  # type: ignore[call-overload]
        if USER not in headers and (key := active_key()) is not None:
            headers[USER] = key
        return super().send_task(*args, headers=headers, **options)


def enter(*, task: celery.Task, **kwargs: object) -> None:
    """Become the user of a task before anything of it runs.

    A task without a user runs as nobody, but one that is called eagerly stays with its caller.
    """
    key = (task.request.headers or {}).get(USER)
    if key is not None or not task.request.is_eager:
        block = Block(Activation(key=key))
        setattr(task.request, _BLOCK, block)
        block.__enter__()


def leave(*, task: celery.Task, **kwargs: object) -> None:
    """Stop being the user when the task is done, with all that it has called or sent."""
    block: Block | None = getattr(task.request, _BLOCK, None)
    if block is not None:
        delattr(task.request, _BLOCK)
        block.__exit__(None, None, None)


# Signals and not a class of tasks, because what a task calls back, chains on and reports when it
# fails happens after its body; and they reach the tasks that Celery brings along.
signals.task_prerun.connect(enter, dispatch_uid="dsud.contrib.celery.enter")
signals.task_postrun.connect(leave, dispatch_uid="dsud.contrib.celery.leave")
