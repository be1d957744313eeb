"""One user's database takes rows from elsewhere: a new one is published with them, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from dsud import models as registry
from dsud import provisioning, schema
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.models import UserDatabase
from dsud.registrations import Registrations
from dsud.retirement import reopen_at_next_use

State = UserDatabase.State


@contextmanager
def filling(key: str, registrations: Registrations) -> Iterator[bool]:
    """Hold a user's place while rows are put there; tell whether the database is a new one.

    A new one is this thread's alone until the block is left, and published then; an error discards
    it. What the block has opened it parts from. Raises ``UserDatabaseUnavailable`` when the user's
    database is lost.
    """
    state = registry.state_of(key)
    if state == State.READY and not engine().serves(key):
        raise provisioning.missing(key)
    if state == State.DELETED:
        registry.write(key, state=State.PENDING)
    provisioning.initialize_location(key)
    with engine().lock(key):
        is_new = not engine().exists(key)
        with _staged(key) if is_new else nullcontext():
            yield is_new
    if is_new:
        registrations.add(key, current=True)
    elif registry.state_of(key) != State.READY:  # As a run leaves it that is killed.
        registrations.add(key, current=schema.is_current(alias_of(key)))


@contextmanager
def _staged(key: str) -> Iterator[None]:
    staged = engine().stage_to_fill(key, provisioning.prepare(), **provisioning.begin_with(key))
    try:
        yield
        reopen_at_next_use(key)  # Now, because it is published when nobody has it open.
        staged.publish()
    finally:
        reopen_at_next_use(key)  # Because it has moved, or is gone.
        staged.discard()
