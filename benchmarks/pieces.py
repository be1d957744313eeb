"""What dsud does for a warm request, without the request: context, router, lease and return."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections, router
from django.http import HttpRequest, HttpResponse

from benchmarks.diary.views import note_model
from benchmarks.visits import fill

__all__ = ["fill", "microseconds"]

#: How often a request of a list or a create asks the router about a user model.
ASKED = 3


def microseconds(*, users: int, times: int) -> dict[str, float]:
    """Return what a warm request of one of so many users costs in dsud, and with what in it."""
    from dsud.middleware import DatabaseSwitchMiddleware

    def view(request: HttpRequest) -> HttpResponse:
        for _ in range(ASKED):
            alias = router.db_for_read(model)
        connections[alias].cursor().close()
        return response

    def plain(request: HttpRequest) -> HttpResponse:
        connections["default"].cursor().close()
        return response

    model, response = note_model(), HttpResponse()
    inside = DatabaseSwitchMiddleware(view)
    nothing = DatabaseSwitchMiddleware(lambda request: response)
    requests = [_request(user) for user in get_user_model().objects.all()[:users]]
    found: dict[str, list[float]] = {"all": [], "context": [], "nothing": []}
    for _ in range(3):
        for request in requests:
            inside(request)
    for _ in range(times):
        found["nothing"].append(_each(plain, requests))
        found["context"].append(_each(nothing, requests))
        found["all"].append(_each(inside, requests))
    middles = {name: median(each) for name, each in found.items()}
    return {
        "all": middles["all"] - middles["nothing"],
        "context": middles["context"] - middles["nothing"],
    }


def _each(work: Callable[[HttpRequest], object], requests: list[HttpRequest]) -> float:
    """Return the microseconds for each request."""
    begun = time.perf_counter()
    for request in requests:
        work(request)
    return (time.perf_counter() - begun) / len(requests) * 1e6


def _request(user: object) -> HttpRequest:
    request = HttpRequest()
    request.user = user  # type: ignore[attr-defined]
    request.session = SessionStore()
    return request
