"""The views under stress: who asks is told by the session, who it must be by the query string."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from stress import adeeds, deeds
from stress.diary.models import Entry
from stress.stage import Scene, running
from stress.tally import Boom

#: How often a body fails at a row, and how often it does something else there.
FAILS = 0.02
DIGRESSES = 0.1


def _scene(request: HttpRequest, *, parameter: str = "pk") -> Scene:
    return running.scene(seed=request.GET["seed"], pk=int(request.GET[parameter]))


def work(request: HttpRequest) -> HttpResponse:
    """Do a number of things."""
    deeds.perform(_scene(request), int(request.GET["number"]))
    return HttpResponse("done")


async def awork(request: HttpRequest) -> HttpResponse:
    """Do a number of things asynchronously."""
    await adeeds.perform(_scene(request), int(request.GET["number"]))
    return HttpResponse("done")


def log_in(request: HttpRequest) -> HttpResponse:
    """Log somebody else in, in the middle of the request."""
    before, after = _scene(request), _scene(request, parameter="next")
    deeds.perform(before, 2)
    user = User.objects.get(pk=after.me.pk)
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    deeds.perform(after, 2)
    return HttpResponse("done")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Read the rows while the body is sent."""
    return StreamingHttpResponse(_body(_scene(request)))


def _body(scene: Scene) -> Iterator[str]:
    for entry in Entry.objects.order_by("-pk")[:20].iterator(chunk_size=2):
        scene.check([entry.text], how="stream")
        yield f"{entry.text}\n"
        if scene.chance(FAILS):
            raise Boom
        if scene.chance(DIGRESSES):
            scene.tally.did(scene.rng.choice(deeds.READING)(scene))
    scene.tally.did(1)


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    """Read the rows asynchronously while the body is sent."""
    return StreamingHttpResponse(_abody(_scene(request)))


async def _abody(scene: Scene) -> AsyncIterator[str]:
    async for entry in Entry.objects.order_by("-pk")[:20].aiterator(chunk_size=2):
        scene.check([entry.text], how="stream")
        yield f"{entry.text}\n"
        if scene.chance(FAILS):
            raise Boom
        if scene.chance(DIGRESSES):
            scene.tally.did(await scene.rng.choice(adeeds.READING)(scene))
    scene.tally.did(1)
