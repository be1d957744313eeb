"""The first face: requests through the WSGI handler, and blocks without a request, in threads."""

from __future__ import annotations

import io
import random
import threading
from itertools import islice

from django.core.handlers.wsgi import WSGIHandler

from dsud import use_user
from stress import browser, deeds, lives
from stress.browser import CSRF, Ask
from stress.stage import Scene, Stage

#: What a thread does next, by weight.
KINDS = {
    "request": 60,
    "block": 25,
    "stream": 10,
    "switch": 2,
    "log-in": 2,
    "live": 1,
    "doom": 1,
}


def run(stage: Stage, *, seed: str, threads: int) -> None:
    """Have so many threads be busy until the tally says that it is over."""
    handler = WSGIHandler()
    running = [
        threading.Thread(target=_act, args=[stage, handler, f"{seed}/{number}"])
        for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _act(stage: Stage, handler: WSGIHandler, seed: str) -> None:
    rng = random.Random(seed)  # noqa: S311, because it is repeatable
    while not stage.tally.over():
        scene = Scene(rng, stage.cast.anybody(rng), stage)
        kind = deeds.pick(rng, KINDS)
        try:
            _do(scene, handler, kind)
        except Exception as error:  # noqa: BLE001, because every error is counted
            stage.tally.failed(error, expected=deeds.is_expected(error, scene))


def _do(scene: Scene, handler: WSGIHandler, kind: str) -> None:
    steady = scene.as_person(scene.other())
    match kind:
        case "request" | "stream":
            path = {"request": "/mixed/", "stream": "/stream/"}[kind]
            _answer(scene, handler, browser.ask_for(scene, path))
        case "log-in":
            ask = browser.ask_for(steady, "/log-in/", next=steady.other().pk)
            _answer(steady, handler, ask)
        case "switch":
            scene.tally.happened("switches")
            for ask, person in browser.switch_and_back(steady):
                _answer(scene.as_person(person), handler, ask)
        case "block":
            with use_user(scene.me.pk):
                deeds.perform(scene, 4)
        case "live" | "doom":
            {"live": lives.live, "doom": lives.doom}[kind](steady)


def _answer(scene: Scene, handler: WSGIHandler, ask: Ask) -> None:
    """Ask, and read all, a part or nothing of the answer, as servers do whose client is gone."""
    status, headers = "", []

    def start_response(line: str, fields: list[tuple[str, str]], exc_info: object = None) -> None:
        nonlocal status, headers
        status, headers = line, fields

    response = handler(_environ(ask), start_response)
    try:
        parts = {"all": None, "part": scene.rng.randrange(4), "none": 0}
        for _ in islice(response, parts[ask.read]):
            pass
    finally:
        response.close()
    ask.browser.take(value for name, value in headers if name == "Set-Cookie")
    browser.judge(scene, int(status.split(maxsplit=1)[0]))


def _environ(ask: Ask) -> dict[str, object]:
    form = (ask.form or "").encode()
    return {
        "REQUEST_METHOD": ask.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": ask.path,
        "QUERY_STRING": ask.query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(form)),
        "HTTP_COOKIE": ask.browser.header(),
        "HTTP_X_CSRFTOKEN": CSRF,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(form),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
