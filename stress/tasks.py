"""The second face: requests through the ASGI handler, and blocks without a request, in asyncio tasks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler

from dsud import use_user
from stress import adeeds, browser, deeds, lives
from stress.browser import CSRF, Ask
from stress.stage import Scene, Stage

#: What a task does next, by weight.
KINDS = {
    "request": 40,
    "blocking request": 15,
    "block": 25,
    "blocking block": 5,
    "stream": 10,
    "switch": 2,
    "log-in": 2,
    "live": 1,
    "doom": 1,
}

#: How often a request is cancelled, or its client leaves, and after how many seconds at most.
CANCELLED = 0.03
LEAVES = 0.03
PATIENCE = 0.02


def run(stage: Stage, *, seed: str, tasks: int) -> None:
    """Have so many tasks be busy until the tally says that it is over."""
    asyncio.run(_run(stage, seed, tasks))


async def _run(stage: Stage, seed: str, tasks: int) -> None:
    handler = ASGIHandler()
    await asyncio.gather(*(_act(stage, handler, f"{seed}/{number}") for number in range(tasks)))


async def _act(stage: Stage, handler: ASGIHandler, seed: str) -> None:
    rng = random.Random(seed)  # noqa: S311, because it is repeatable
    while not stage.tally.over():
        scene = Scene(rng, stage.cast.anybody(rng), stage)
        kind = deeds.pick(rng, KINDS)
        try:
            await _do(scene, handler, kind)
        except Exception as error:  # noqa: BLE001, because every error is counted
            stage.tally.failed(error, expected=deeds.is_expected(error, scene))


async def _do(scene: Scene, handler: ASGIHandler, kind: str) -> None:
    steady = scene.as_person(scene.other())
    match kind:
        case "request" | "blocking request" | "stream":
            path = {"request": "/amixed/", "blocking request": "/mixed/", "stream": "/astream/"}[
                kind
            ]
            await _disturbed(scene, handler, browser.ask_for(scene, path))
        case "log-in":
            ask = browser.ask_for(steady, "/log-in/", next=steady.other().pk)
            await Client(steady, handler, ask).run()
        case "switch":
            scene.tally.happened("switches")
            for ask, person in browser.switch_and_back(steady):
                await Client(scene.as_person(person), handler, ask).run()
        case "block":
            async with use_user(scene.me.pk):
                await adeeds.perform(scene, 4)
        case "blocking block":
            await sync_to_async(_block, thread_sensitive=False)(scene)
        case "live" | "doom":
            life: Callable[[Scene], None] = lives.live if kind == "live" else lives.doom
            await sync_to_async(life, thread_sensitive=False)(steady)


def _block(scene: Scene) -> None:
    with use_user(scene.me.pk):
        deeds.perform(scene, 4)


async def _disturbed(scene: Scene, handler: ASGIHandler, ask: Ask) -> None:
    """Ask, and be cancelled at times."""
    task = asyncio.create_task(Client(scene, handler, ask).run())
    if scene.chance(CANCELLED):
        await asyncio.wait([task], timeout=scene.rng.random() * PATIENCE)
        if task.cancel():
            scene.tally.happened("requests cancelled")
    with suppress(asyncio.CancelledError):
        await task


class Client:
    """One connection to the site, whose client may leave."""

    def __init__(self, scene: Scene, handler: ASGIHandler, ask: Ask) -> None:
        self._scene = scene
        self._handler = handler
        self._ask = ask
        self._status = 0
        self._asked = False
        self._gone = asyncio.Event()
        self._parts = {"all": -1, "part": scene.rng.randrange(1, 4), "none": 0}[ask.read]

    async def run(self) -> None:
        """Ask and judge the answer."""
        leaving = None
        if self._scene.chance(LEAVES) and self._ask.form is None:
            leaving = asyncio.create_task(self._leave())
        try:
            await self._handler(self._scope(), self._receive, self._send)
        finally:
            if leaving is not None:
                leaving.cancel()
        browser.judge(self._scene, self._status)

    async def _leave(self) -> None:
        await asyncio.sleep(self._scene.rng.random() * PATIENCE)
        self._scene.tally.happened("clients gone")
        self._gone.set()

    async def _receive(self) -> dict[str, object]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": (self._ask.form or "").encode()}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            self._status = int(str(message["status"]))
            headers: list[tuple[bytes, bytes]] = message["headers"]  # type: ignore[assignment]
            self._ask.browser.take(v.decode() for name, v in headers if name == b"Set-Cookie")
            if self._parts == 0:
                self._gone.set()
        elif self._parts > 0:
            self._parts -= 1
            if self._parts == 0:
                self._gone.set()
        await asyncio.sleep(0)

    def _scope(self) -> dict[str, object]:
        headers = {
            "host": "127.0.0.1",
            "cookie": self._ask.browser.header(),
            "x-csrftoken": CSRF,
            "content-type": "application/x-www-form-urlencoded",
        }
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": self._ask.method,
            "path": self._ask.path,
            "query_string": self._ask.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "server": ("127.0.0.1", 80),
        }
