"""What dsud does for a warm request, without the request: context, router, lease and return."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections, router
from django.http import HttpRequest, HttpResponse

from benchmarks.diary.views import note_model
from benchmarks.visits import fill

__all__ = ["fill", "microseconds"]

#: How often a request of a list or a create asks the router about a user model.
ASKED = 3

#: How often all requests are answered in a row, so that the processor's caches are warm.
BLOCK = 20


def microseconds(*, hot: int, times: int) -> dict[str, float]:
    """Return what a request costs in dsud: of so many users, and of too many for a thread to keep."""
    from dsud.middleware import DatabaseSwitchMiddleware

    def view(request: HttpRequest) -> HttpResponse:
        alias = ""
        for _ in range(ASKED):
            alias = router.db_for_read(model)
        connections[alias].cursor().close()
        return response

    def plain(request: HttpRequest) -> HttpResponse:
        connections["default"].cursor().close()
        return response

    model, response = note_model(), HttpResponse()
    inside = DatabaseSwitchMiddleware(view)
    every = [_request(user) for user in get_user_model().objects.all()]
    found: dict[str, list[float]] = {"all": [], "made anew": [], "default": []}
    for _ in range(times // BLOCK):
        # In turn, because the machine is faster at one moment than at another.
        for name, requests in (("all", every[:hot]), ("made anew", every)):
            for _ in range(2):
                _each(inside, requests)
            for _ in range(BLOCK):
                nothing = _each(plain, requests)
                found["default"].append(nothing)
                found[name].append(_each(inside, requests) - nothing)
    return {name: median(each) for name, each in found.items()}


def _each(work: Callable[[HttpRequest], object], requests: list[HttpRequest]) -> float:
    """Return the microseconds for each request, of the processor: nothing here waits for a disk."""
    begun = time.thread_time()
    for request in requests:
        work(request)
    return (time.thread_time() - begun) / len(requests) * 1e6


def _request(user: User) -> HttpRequest:
    request = HttpRequest()
    request.user = user
    request.session = SessionStore()
    return request
