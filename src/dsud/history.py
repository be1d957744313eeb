"""The admin's log of user rows: each entry says whose row it was, and others are not shown it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.core.paginator import Page, Paginator
from django.db.models.signals import pre_save
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from dsud.chooser import site_of_user_model
from dsud.context import active_key
from dsud.router import is_user_model

if TYPE_CHECKING:
    from django.contrib.admin.models import LogEntry
    from django.db.models import Manager, QuerySet
    from django.http import HttpRequest

#: Entries on a page, as in the admin.
PER_PAGE = 100


def connect() -> None:
    """Mark every entry that is logged from now on; called once when Django starts."""
    if apps.is_installed("django.contrib.admin"):
        from django.contrib.admin.models import LogEntry, LogEntryManager

        pre_save.connect(mark, sender=LogEntry, dispatch_uid="dsud.history")
        if "bulk_create" not in vars(LogEntryManager):  # Not its own, but a manager's.
            setattr(LogEntryManager, "bulk_create", _mark_each(LogEntryManager.bulk_create))  # noqa: B010, because types take it for a method


def _mark_each(bulk_create: Callable[..., list[LogEntry]]) -> Callable[..., list[LogEntry]]:
    """Mark entries that are logged together, of which Django sends no signals."""

    @functools.wraps(bulk_create)
    def marking(
        self: Manager[LogEntry], objs: Iterable[LogEntry], *args: object, **kwargs: object
    ) -> list[LogEntry]:
        entries = list(objs)
        for entry in entries:
            mark(instance=entry)
        return bulk_create(self, entries, *args, **kwargs)

    return marking


def mark(*, instance: LogEntry, **kwargs: object) -> None:
    """Note in an entry about a user row whose row it is, because many users have one of its key.

    The message is a list of what was done, and the admin shows only those parts that it knows.
    """
    # Asked in this order, because an entry about a shared row is nobody's in particular.
    if not _is_about_user_model(instance) or (key := active_key()) is None:
        return
    message = instance.change_message
    done = json.loads(message) if message.startswith("[") else []
    if done or not message:
        instance.change_message = json.dumps([*done, _note(key)])


def _is_about_user_model(entry: LogEntry) -> bool:
    from django.contrib.contenttypes.models import ContentType

    if entry.content_type_id is None:
        return False
    model = ContentType.objects.get_for_id(entry.content_type_id).model_class()
    return model is not None and is_user_model(model)


def _note(key: str) -> dict[str, str]:
    return {"user_database": key}


def answer(
    request: HttpRequest,
    view: Callable[..., HttpResponseBase],
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> HttpResponseBase | None:
    """Answer for the admin's page with the history of a user row, or None for any other page.

    Entries that say of nobody whose they are, such as those from before, are not shown.
    """
    if getattr(view, "__name__", "") != "history_view":
        return None
    if site_of_user_model(request, view=view) is None:
        return None
    response = view(request, *args, **kwargs)
    if isinstance(response, TemplateResponse) and response.context_data is not None:
        _leave_out_others(response.context_data)
    return response


def _leave_out_others(context: dict[str, object]) -> None:
    page = context.get("action_list")
    key = active_key()
    if key is None or not isinstance(page, Page):
        return
    note = json.dumps(_note(key))
    logged = cast("QuerySet[LogEntry]", page.paginator.object_list)
    entries = logged.filter(change_message__contains=note)
    # Once more, because SQLite compares without regard to case, and Bob is not bob.
    paginator = Paginator([entry for entry in entries if note in entry.change_message], PER_PAGE)
    context["action_list"] = paginator.get_page(page.number)
    context["page_range"] = paginator.get_elided_page_range(page.number)
    context["pagination_required"] = paginator.count > PER_PAGE
