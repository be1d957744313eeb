"""Databases that are there and pending in the registry are registered by the next process that makes one."""

from __future__ import annotations

import logging
import threading

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from dsud.connections import uncounted
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError
from dsud.models import UserDatabase

logger = logging.getLogger("dsud")

#: How many are looked for: the newest, because what the power takes back is what was written last.
MOST = 1000

_done = threading.Event()


def register_once() -> None:
    """Register what is there and pending, once in a process: after a loss of power all are new.

    The power may have taken back that they are ready, or their makers were killed before they wrote
    it. Failures are logged, because whoever has just signed up must not pay for them.
    """
    if _done.is_set():
        return
    _done.set()
    try:
        register()
    except (UserDatabaseError, DatabaseError):
        logger.warning("Pending databases could not be registered.", exc_info=True)


def register() -> None:
    """Register what is there and pending.

    Which schema it has is not known, so whoever migrates all looks at it.
    """
    state = UserDatabase.State
    pending = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=state.PENDING)
    with uncounted(connections[DEFAULT_DB_ALIAS]):
        newest = list(pending.order_by("-pk").values_list("user_key", flat=True)[:MOST])
        for key in filter(engine().exists, newest):
            # Only if it is pending still: its user may have been deleted meanwhile.
            pending.filter(user_key=key).update(state=state.READY, schema="")
