"""Threads and executors that act for whoever was active where they were started."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dsud import stepwise
from dsud.context import Activation, Block, active_key
from dsud.exceptions import NoActiveUser

P = ParamSpec("P")
R = TypeVar("R")


def as_active_user(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function as it runs for the user who is active now, in whichever thread that is.

    A request's user is resolved now, because the request may be over when the thread runs.
    The thread's connections are returned when the function ends.
    Raises ``NoActiveUser`` now when nobody is active.
    """
    key = active_key()
    if key is None:
        raise NoActiveUser
    activation = Activation(key=key)
    return stepwise.run_inside(function, Block(activation), Block(activation, releases=False))
