"""The active user of a request: found when first needed, for as long as the response lasts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.db.models import Model
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.utils.module_loading import import_string

from dsud import audit, stepwise, switch
from dsud.conf import conf
from dsud.context import Activation, Block, user_key
from dsud.exceptions import DSUDError, NoActiveUser

GetResponse = Callable[[HttpRequest], "HttpResponseBase | Awaitable[HttpResponseBase]"]


class UserOfRequest:
    """Finds who is active in a request, anew each time, because a view may log somebody in."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._last: tuple[object, object, str] | None = None

    def __call__(self) -> str | None:
        """Return the key of the user whose data the request sees, or None."""
        user = switch.switched_user(self._request) or self._resolve()
        pk = getattr(user, "pk", None)
        if pk is None:
            return None
        last = self._last
        if last is None or last[0] is not user or last[1] != pk:
            last = self._last = (user, pk, user_key(cast("Model", user)))
        return last[2]

    def _resolve(self) -> object:
        if (path := conf.DSUD_USER_RESOLVER) is not None:
            return import_string(path)(self._request)
        return getattr(self._request, "user", None)


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
        activation = Activation(find=UserOfRequest(request))
        if self._is_async:
            return self._answer_async(request, activation)
        with Block(activation):
            response = cast("HttpResponseBase", self.get_response(request))
            audit.record_late_end(request)
        return _stream_inside(response, activation)

    async def _answer_async(
        self, request: HttpRequest, activation: Activation
    ) -> HttpResponseBase:
        async with Block(activation):
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
            await audit.arecord_late_end(request)
        return _stream_inside(response, activation)

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: object,
        view_kwargs: object,
    ) -> HttpResponseBase | None:
        """Ask whose data to open when the admin shows user models and nobody is switched to."""
        return switch.choose_response(request, view_func)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer 503 when the database of this one user cannot serve."""
        if not isinstance(exception, DSUDError) or exception.status_code != 503:
            return None
        return _unavailable(request, exception)


def _stream_inside(response: HttpResponseBase, activation: Activation) -> HttpResponseBase:
    """Let a body that is made while it is sent run as the request's user, step by step."""
    # A FileResponse reads no database, and servers send its file by themselves.
    if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
        step = Block(activation, releases=False)
        if response.is_async:
            response.streaming_content = stepwise.aeach_inside(step, response.streaming_content)
        else:
            response.streaming_content = stepwise.each_inside(step, response.streaming_content)
    return response


def _unavailable(request: HttpRequest, error: DSUDError) -> HttpResponse:
    template = loader.select_template(["503.html", "dsud/503.html"])
    reason = str(error) if settings.DEBUG else ""
    body = template.render({"reason": reason}, request)
    return HttpResponse(body, status=error.status_code, headers={"Retry-After": "30"})
