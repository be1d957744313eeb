"""What Django asks the router in the event loop, asked in a thread first."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

from asgiref.sync import sync_to_async
from django.db.models import Model, QuerySet

from dsud.router import is_user_model

Rows = AsyncGenerator[Model, None]


def ask_in_thread(aiterator: Callable[..., Rows]) -> Callable[..., Rows]:
    """Find out whose rows are meant before iterating.

    The router asks the request for its user, which takes queries, and the loop may make none.
    """

    @functools.wraps(aiterator)
    async def asking_first(self: QuerySet[Model], *args: object, **kwargs: object) -> Rows:
        if is_user_model(self.model):
            await sync_to_async(getattr)(self, "db")
        async with aclosing(aiterator(self, *args, **kwargs)) as rows:
            async for row in rows:
                yield row

    return asking_first


def install() -> None:
    """Put it into Django; called once, when the apps are ready.

    ``QuerySet.aiterator`` looks at the settings of its connection before it enters a thread
    (Django 5.2 to 6.1); every other asynchronous query asks the router inside one.
    """
    aiterator = cast("Callable[..., Rows]", QuerySet.aiterator)
    if not hasattr(aiterator, "__wrapped__"):
        setattr(QuerySet, "aiterator", ask_in_thread(aiterator))  # noqa: B010, because of its types
