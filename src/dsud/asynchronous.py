"""Where the event loop and threads meet: what is asked in which, and who stays active in the loop."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from asgiref.sync import SyncToAsync, sync_to_async
from django.db.models import Model, QuerySet

from dsud.connections import key_of_alias
from dsud.context import refuse_unless_active, unchanged
from dsud.replacements import put_into_place
from dsud.router import is_user_model

Rows = AsyncGenerator[Model, None]


def ask_in_thread(aiterator: Callable[..., Rows]) -> Callable[..., Rows]:
    """Find out whose rows are meant before iterating, and judge again before each further row.

    The router asks the request for its user, which takes queries, and the loop may make none.
    """

    @functools.wraps(aiterator)
    async def asking_first(self: QuerySet[Model], *args: object, **kwargs: object) -> Rows:
        owner = None
        if is_user_model(self.model):
            owner = key_of_alias(await sync_to_async(getattr)(self, "db"))
        async with aclosing(aiterator(self, *args, **kwargs)) as rows:
            async for row in rows:
                yield row
                if owner is not None:
                    refuse_unless_active(owner, what=f"An iterator of {self.model._meta.label}")

    return asking_first


def keep_active(call: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    """Leave the task with the user it had when it waits for a thread.

    asgiref copies the thread's context into the task, also when the task is cancelled while the
    thread is in the middle of somebody else's block.
    """

    @functools.wraps(call)
    async def keeping(self: SyncToAsync[..., object], *args: object, **kwargs: object) -> object:
        with unchanged():
            return await call(self, *args, **kwargs)

    return keeping


def install() -> None:
    """Put both into place; called once, when the apps are ready.

    ``QuerySet.aiterator`` looks at the settings of its connection before it enters a thread
    (Django 5.2 to 6.1); every other asynchronous query asks the router inside one.
    ``SyncToAsync.__call__`` restores the context in a ``finally`` (asgiref 3.8 to 3.13).
    """
    put_into_place(
        [
            (QuerySet, "aiterator", ask_in_thread),
            (SyncToAsync, "__call__", keep_active),
        ]
    )
