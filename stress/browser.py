"""What the browsers of both faces share: cookies, addresses, and how an answer is judged."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.signals import got_request_exception
from django.http import HttpRequest

from stress import deeds
from stress.stage import Person, Scene, running

#: What a browser sends as cookie and as header, so that forms are accepted.
CSRF = "c" * 32

SWITCH = "/admin/switch-user/"
SWITCH_BACK = "/admin/switch-user/end/"

#: What is asked of the site, by weight, apart from what each face adds.
WORK = {"part": 15, "none": 5, "all": 80}


@functools.cache
def _password_hash() -> str:
    return str(User(password=UNUSABLE_PASSWORD_PREFIX).get_session_auth_hash())


class Browser:
    """The cookies of somebody who is logged in."""

    def __init__(self, person: Person) -> None:
        session = SessionStore()
        session[SESSION_KEY] = str(person.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = _password_hash()
        session.save()
        self._cookies = {"csrftoken": CSRF, "sessionid": str(session.session_key)}

    def header(self) -> str:
        """Return the Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    def take(self, set_cookie_headers: Iterable[str]) -> None:
        """Remember the session that an answer sets; the CSRF token stays the same."""
        for header in set_cookie_headers:
            if (morsel := SimpleCookie(header).get("sessionid")) is not None:
                self._cookies["sessionid"] = morsel.value


@dataclass(frozen=True)
class Ask:
    """One request: what, of which site's path, by whom, and how much of the answer is read."""

    browser: Browser
    path: str
    query: str = ""
    form: str | None = None
    read: str = "all"

    @property
    def method(self) -> str:
        """Return the method."""
        return "GET" if self.form is None else "POST"


def ask_for(scene: Scene, path: str, *, browser: Browser | None = None, **more: object) -> Ask:
    """Ask for a page that does something as the person of the scene."""
    query = {"pk": scene.me.pk, "seed": scene.rng.getrandbits(32), "number": 6, **more}
    read = deeds.pick(scene.rng, WORK) if "stream" in path else "all"
    return Ask(browser or Browser(scene.me), path, urlencode(query), read=read)


def switch_and_back(scene: Scene) -> list[tuple[Ask, Person]]:
    """Return what an operator asks for who opens the data of the scene's person, and who it is."""
    operator = scene.stage.cast.operator
    browser = Browser(operator)
    form = urlencode({"user_id": scene.me.pk})
    page = "/mixed/" if scene.tally.face == "WSGI" else "/amixed/"
    return [
        (Ask(browser, SWITCH, form=form), operator),
        (ask_for(scene, page, browser=browser), scene.me),
        (Ask(browser, SWITCH_BACK, form=""), operator),
        (ask_for(scene.as_person(operator), page, browser=browser), operator),
    ]


def judge(scene: Scene, status: int) -> None:
    """Count an answer that refuses; what the site raised was counted where it was raised."""
    if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    if scene.me.doomed:
        scene.tally.happened(f"HTTP {status} for deleted users")
    else:
        scene.tally.wrong(f"HTTP {status}")


def count_exception(request: HttpRequest, **kwargs: object) -> None:
    """Count what a view has raised."""
    error = sys.exception()
    scene = running.scene(seed="", pk=int(request.GET.get("pk", 0)))
    if error is None:
        scene.tally.wrong("HTTP 500")
    else:
        scene.tally.failed(error, expected=deeds.is_expected(error, scene))


def count_exceptions() -> None:
    """Count what views raise; called once per process."""
    got_request_exception.connect(count_exception, dispatch_uid="stress")
