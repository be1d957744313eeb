"""What is recorded when somebody opens another user's data: admin log, signals, log lines."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, transaction

from dsud.signals import user_switch_ended, user_switched

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest

# What a request remembers until its response is there.
LATE = "_dsud_switch_end"

logger = logging.getLogger("dsud")


class Reason(StrEnum):
    """Why a switch ended: by the actor's doing (first four), or by itself."""

    ASKED = "asked"
    REPLACED = "replaced"
    LOG_OUT = "log_out"
    LOG_IN = "log_in"
    EXPIRED = "expired"
    FORBIDDEN = "forbidden"
    INACTIVE = "inactive"
    DELETED = "deleted"


class End(NamedTuple):
    """One end of a switch; an actor or user whose row is gone is None."""

    actor: AbstractBaseUser | None
    user: AbstractBaseUser | None
    user_id: str
    reason: Reason


def record_start(request: HttpRequest, *, actor: AbstractBaseUser, user: AbstractBaseUser) -> None:
    """Record that ``actor`` opens the data of ``user``; a receiver that raises forbids it."""
    user_id = user._meta.pk.value_to_string(user)
    # Because nothing was opened when a receiver forbids it.
    with transaction.atomic(DEFAULT_DB_ALIAS):
        _write_log_entry(actor, user_id=user_id, user=user, message="Opened this user's data.")
        user_switched.send(get_user_model(), actor=actor, user=user, request=request)
    logger.info("A user opened the data of another user.")


def record_end(request: HttpRequest, *, end: End) -> None:
    """Record that the data which had been opened is closed, and why."""
    if end.actor is not None:
        message = f"Closed this user's data ({end.reason})."
        _write_log_entry(end.actor, user_id=end.user_id, user=end.user, message=message)
    # Robust, because a receiver that fails must not keep the data open.
    user_switch_ended.send_robust(
        get_user_model(), actor=end.actor, user=end.user, request=request, reason=str(end.reason)
    )
    logger.info("A user's look at the data of another user ended: %s.", end.reason)


def record_end_of_refused_request(request: HttpRequest, *, end: End) -> None:
    """Record an end that makes the request fail: at once, or after the transaction it is in."""
    if transaction.get_connection(DEFAULT_DB_ALIAS).in_atomic_block:
        # Later, because the refusal rolls the transaction of the view back, record and all.
        request.__dict__[LATE] = end
    else:
        record_end(request, end=end)


def record_late_end(request: HttpRequest) -> None:
    """Record what ``record_end_of_refused_request`` put off, now that there is a response."""
    if (end := request.__dict__.pop(LATE, None)) is not None:
        record_end(request, end=end)


async def arecord_late_end(request: HttpRequest) -> None:
    """Do what ``record_late_end`` does, from asynchronous code."""
    if LATE in request.__dict__:
        await sync_to_async(record_late_end)(request)


def _write_log_entry(
    actor: AbstractBaseUser, *, user_id: str, user: AbstractBaseUser | None, message: str
) -> None:
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.contenttypes.models import ContentType

    # Not through log_actions(), because it needs the row of a user who may be deleted by now.
    LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(get_user_model(), for_concrete_model=False),
        object_id=user_id,
        object_repr=(user_id if user is None else str(user))[:200],
        action_flag=CHANGE,
        change_message=message,
    )
