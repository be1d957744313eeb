"""Sixteen threads ask a site for the notes of many users, and write some; each answer is checked."""

from __future__ import annotations

import io
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.contrib.auth import get_user_model
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception

from benchmarks.diary import people
from benchmarks.diary.views import note_model, owned_by

#: Notes that each user has before, all of which fit into one answer beside those that are written.
NOTES = 5

_errors: Counter[str] = Counter()
_written: Counter[str] = Counter()
_counting = Lock()
_visitors: list[tuple[str, str, str]] = []


def fill(*, users: int) -> None:
    """Make users with notes that say whose they are."""
    people.prepare()
    got_request_exception.connect(_note_error)
    for number in range(1, users + 1):
        user = people.person(f"user{number}")
        _write_notes(user)
        _visitors.append((str(user.pk), people.session_of(user), people.host_of(user)))


def load(*, threads: int, requests: int) -> dict[str, Any]:
    """Let threads send so many requests each; return what went wrong."""
    site = WSGIHandler()
    _errors.clear()
    with ThreadPoolExecutor(threads) as pool:
        turns = list(pool.map(lambda seed: _visit(site, seed, requests), range(threads)))
    failed, foreign = (sum(counts) for counts in zip(*turns, strict=True))
    return {"failed": failed, "foreign": foreign, "errors": dict(_errors.most_common())}


def kept() -> dict[str, int]:
    """Compare what lies in each user's place with what was written there."""
    found = Counter[str]()
    for key, _, _ in _visitors:
        found.update(_compared(key))
    return {"lost": found["lost"], "misplaced": found["foreign"]}


def mix_up() -> dict[str, int]:
    """Load a note as each user and save it as the next; return whose notes that overwrote, and refusals."""
    users = list(get_user_model().objects.order_by("pk"))
    found = Counter[str]()
    for one, other in pairwise(users):
        with people.acting_as(one):
            note = note_model().objects.order_by("pk")[0]
        note.title = "Mixed up"
        try:
            with people.acting_as(other):
                note.save()
        except Exception as error:  # noqa: BLE001, because any error is better than what else happens
            found[type(error).__name__] += 1
        with people.acting_as(other):
            found["overwritten"] += (
                note_model().objects.filter(title="Mixed up", **owned_by(other)).count()
            )
    return dict(found)


def upgrade() -> None:
    """Do what a deploy does, though there is nothing new."""
    people.upgrade()


def _write_notes(user: Any) -> None:  # noqa: ANN401, because it is whatever the site has for users
    with people.acting_as(user):
        for number in range(NOTES):
            note_model().objects.create(title=f"{user.pk}: {number}", **owned_by(user))


def _visit(site: WSGIHandler, seed: int, requests: int) -> tuple[int, int]:
    """Send requests as users by chance; return how many failed, and how many showed foreign rows."""
    choice = random.Random(seed)  # noqa: S311, because it only has to be the same for everybody
    failed = foreign = 0
    for _ in range(requests):
        key, session, host = choice.choice(_visitors)
        path = "/notes/new/" if choice.random() < 0.2 else "/notes/"  # noqa: PLR2004
        status, body = _ask(site, path, session, host)
        if status not in ("200", "201"):
            failed += 1
        elif status == "201":
            _count(_written, key)
        else:
            titles = [note["title"] for note in json.loads(body)["notes"]]
            foreign += any(":" in title and not title.startswith(f"{key}:") for title in titles)
    return failed, foreign


def _ask(site: WSGIHandler, path: str, session: str, host: str) -> tuple[str, bytes]:
    """Send one request as a server does; return the status and what was answered."""
    said: list[str] = []

    def start(status: str, headers: object, caught: object = None, /) -> Callable[[bytes], object]:
        said.append(status)
        return lambda body: None

    environ: dict[str, Any] = {
        "PATH_INFO": path,
        "HTTP_HOST": host,
        "HTTP_COOKIE": f"sessionid={session}",
        "REQUEST_METHOD": "POST" if path.endswith("new/") else "GET",
        "wsgi.input": io.BytesIO(),
    }
    setup_testing_defaults(environ)
    try:
        response = site(environ, start)
        try:
            body = b"".join(response)
        finally:
            response.close()
    except Exception as error:  # noqa: BLE001, because a server answers 500, whatever it was
        _count(_errors, type(error).__name__)
        return "500", b""
    return said[0][:3], body


def _count(counter: Counter[str], what: str) -> None:
    with _counting:
        counter[what] += 1


def _note_error(**signal: object) -> None:
    error = sys.exc_info()[1]
    _count(_errors, type(error).__name__)


def _compared(key: str) -> dict[str, int]:
    """Return how many of a user's notes are not there, and how many notes of others are."""
    user = get_user_model().objects.get(pk=key)
    try:
        with people.acting_as(user):
            titles = list(
                note_model().objects.filter(**owned_by(user)).values_list("title", flat=True)
            )
    except Exception as error:  # noqa: BLE001, because then none of them can be read
        _count(_errors, type(error).__name__)
        titles = []
    own = sum(":" not in title or title.startswith(f"{key}:") for title in titles)
    return {"lost": max(0, NOTES + _written[key] - own), "foreign": len(titles) - own}
