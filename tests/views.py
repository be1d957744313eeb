"""Views that reach user models in every way a request can."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from tests.notes.models import Note


def notes(request: HttpRequest) -> JsonResponse:
    """List the texts."""
    return JsonResponse({"notes": list(Note.objects.values_list("text", flat=True))})


async def anotes(request: HttpRequest) -> JsonResponse:
    """List the texts asynchronously."""
    return JsonResponse({"notes": [note.text async for note in Note.objects.all()]})


def add(request: HttpRequest) -> JsonResponse:
    """Write a note."""
    return JsonResponse({"pk": Note.objects.create(text=request.GET["text"]).pk})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Read the notes while the body is sent."""

    def body() -> Iterator[str]:
        for note in Note.objects.order_by("pk").iterator(chunk_size=1):
            yield f"{note.text}\n"

    return StreamingHttpResponse(body())


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    """Read the notes asynchronously while the body is sent."""

    async def body() -> AsyncIterator[str]:
        async for note in Note.objects.order_by("pk").aiterator(chunk_size=1):
            yield f"{note.text}\n"

    return StreamingHttpResponse(body())


def login_inside(request: HttpRequest) -> JsonResponse:
    """Log a user in and read their notes in the same request."""
    user = get_user_model().objects.get(username=request.GET["username"])
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    return notes(request)


def nothing(request: HttpRequest) -> HttpResponse:
    """Touch no model at all."""
    with contextlib.suppress(KeyError):
        return HttpResponse(request.GET["say"])
    return HttpResponse("nothing")
