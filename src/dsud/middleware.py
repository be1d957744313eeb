"""The active user of a request: found when first needed, for as long as the response lasts."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import setting_changed
from django.db.models import Model
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string

from dsud import audit, history, stepwise, switch
from dsud.chooser import is_unmarked
from dsud.conf import conf
from dsud.context import Activation, AskedActivation, Block, key_of
from dsud.exceptions import DSUDError

logger = logging.getLogger("dsud")

GetResponse = Callable[[HttpRequest], "HttpResponseBase | Awaitable[HttpResponseBase]"]


@functools.cache
def _resolver() -> str | None:
    """Return the setting, remembered because Django takes long to say that there is none."""
    return conf.DSUD_USER_RESOLVER


def forget_resolver(*, setting: str, **kwargs: object) -> None:
    """Look anew who is asked for the user of a request after the setting has changed."""
    if setting == "DSUD_USER_RESOLVER":
        _resolver.cache_clear()


setting_changed.connect(forget_resolver, dispatch_uid="dsud.middleware.forget_resolver")


class Answer:
    """Who was found active, and by what a glance can tell that it is still so.

    A request asks a dozen times, and finding out in full takes ten times as long as this glance. What
    could change the answer leaves a trace: a log-in, a log-out and a switch modify the session or
    replace ``request.user``, and to delete the user takes the primary key from the object.
    """

    __slots__ = ("_name", "_pk", "_session", "_user", "_values", "key")

    def __init__(self, key: str, row: Model, *, user: object, session: SessionBase | None) -> None:
        self.key = key
        self._user = user
        self._session = session
        self._values = row.__dict__
        self._name = name = row._meta.pk.attname
        self._pk = self._values.get(name)

    def holds(self, now: Mapping[str, object]) -> bool:
        """Tell by the attributes of the request whether nothing could have changed the answer."""
        session = self._session
        try:
            return (
                now["user"] is self._user
                and self._values[self._name] is self._pk
                and switch.LOST not in now
                and (
                    "session" not in now
                    if session is None
                    else now["session"] is session and not session.modified
                )
            )
        except (AttributeError, KeyError):
            return False


class UserOfRequest(AskedActivation):
    """Who is active in a request: asked anew each time, because a view may log somebody in."""

    __slots__ = ("_answer", "_now", "_request", "_seen")

    def __init__(self, request: HttpRequest) -> None:
        super().__init__()
        self._request = request
        self._now = request.__dict__
        self._seen: tuple[object, object, str] | None = None
        self._answer: Answer | None = None

    def key(self) -> str | None:
        """Return the key of the user whose data the request sees, or None."""
        answer = self._answer
        if answer is not None and answer.holds(self._now):
            return answer.key
        return self._find()

    def glance(self) -> str | None:
        """Return the key that was found last if the request has the same user still."""
        answer = self._answer
        if answer is not None and answer.holds(self._now):
            return answer.key
        seen = self._seen
        if seen is None:
            return None
        user = switch.known_user(self._request) or getattr(self._request, "user", None)
        return seen[2] if seen[0] is user else None

    def _find(self) -> str | None:
        self._answer = None
        resolver = _resolver()
        try:
            is_open = switch.is_open(self._request)
            switched = switch.switched_user(self._request) if is_open else None
            user = switched or self._resolve(resolver)
            pk = getattr(user, "pk", None)
        except SynchronousOnlyOperation as error:
            raise SynchronousOnlyOperation(
                "The user of this request is not known yet, and the event loop may not ask the"
                " database. Write `await request.auser()` before this line."
            ) from error
        if pk is None:
            return None
        # Django's own lazy object is set up once, and never again; others may be anything. Past it
        # from here on, because each question to it takes ten times as long as one to the user.
        row = user._wrapped if type(user) is SimpleLazyObject else user
        seen = self._seen
        if seen is None or seen[0] is not user or seen[1] != pk:
            seen = self._seen = (user, pk, key_of(row, pk))
        if not is_open and resolver is None and isinstance(row, Model):
            self._remember(user, row, seen[2])
        return seen[2]

    def _remember(self, user: object, row: Model, key: str) -> None:
        """Remember the answer for a glance if that can tell whether it still holds."""
        session = self._now.get("session")
        if user is self._now.get("user") and not (session is not None and session.modified):
            self._answer = Answer(key, row, user=user, session=session)

    def _resolve(self, resolver: str | None) -> object:
        if resolver is not None:
            return import_string(resolver)(self._request)
        user = getattr(self._request, "user", None)
        if type(user) is SimpleLazyObject and "_cached_user" not in self._now:
            # What `request.auser()` found is kept apart from `request.user` (Django 5.2 to 6.1).
            return self._now.get("_acached_user", user)
        return user


class DatabaseSwitchMiddleware:
    """Run each request as its user: ``request.user``, or whom an operator has switched to."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request."""
        activation = UserOfRequest(request)
        if self._is_async:
            return self._answer_async(request, activation)
        with Block(activation):
            response: HttpResponseBase = self.get_response(request)  # type: ignore[assignment]
            if audit.LATE in request.__dict__:
                audit.record_late_end(request)
        return _stream_inside(response, activation)

    async def _answer_async(self, request: HttpRequest, activation: Activation) -> HttpResponseBase:
        async with Block(activation):
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
            await audit.arecord_late_end(request)
        return _stream_inside(response, activation)

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: Sequence[object],
        view_kwargs: Mapping[str, object],
    ) -> HttpResponseBase | None:
        """Ask whose data to open when the admin shows user models and nobody is switched to."""
        if is_unmarked(view_func):
            return None
        asked = switch.choose_response(request, view_func)
        return asked or history.answer(request, view_func, view_args, view_kwargs)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer 503 when the database of this one user cannot serve."""
        unavailable = HTTPStatus.SERVICE_UNAVAILABLE
        if isinstance(exception, DSUDError) and exception.status_code == unavailable:
            return _unavailable(exception)
        return None


def _stream_inside(response: HttpResponseBase, activation: Activation) -> HttpResponseBase:
    """Let a body that is made while it is sent run as the request's user, step by step."""
    # A FileResponse reads no database, and servers send its file by themselves.
    if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
        step = Block(activation, releases=False)
        # Both are private in Django 5.2 to 6.1: without them, what a body does when the visitor
        # leaves before its end finds nobody active, and Django hides the error.
        body, closers = response._iterator, response._resource_closers  # type: ignore[attr-defined]
        closers[:] = [stepwise.run_inside(closer, step, step) for closer in closers]
        each_inside = stepwise.aeach_inside if response.is_async else stepwise.each_inside
        response.streaming_content = each_inside(step, body)
    return response


def _unavailable(error: DSUDError) -> HttpResponse:
    # Logged, because the visitor does not see the reason and the operator needs it.
    logger.error("%s", error, exc_info=error)
    template = loader.select_template(["503.html", "dsud/503.html"])
    # Without the request, as Django's own page for errors, because a context processor that reads
    # the user's data would fail again.
    body = template.render({"reason": str(error) if settings.DEBUG else ""})
    return HttpResponse(body, status=error.status_code, headers={"Retry-After": "30"})
