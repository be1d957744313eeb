"""Another process of the same site, which does what it is told until it is stopped or killed."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TypeAlias, cast

from dsud.engines.hooks import Hooks
from dsud.testing.conformance.acting import LONG, refuse_to_make

#: Databases of the other process: only users' ones, because ``default`` would be the site's own.
_NO_DEFAULT = {"default": {"ENGINE": "django.db.backends.dummy"}}

Errand: TypeAlias = tuple[Callable[..., object], tuple[object, ...], dict[str, object]]

_START = """
import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
sys.path[:] = pipe.recv()
from django.conf import settings
for name, value in pipe.recv().items():
    setattr(settings, name, value)
import django
django.setup()
from dsud.testing.conformance.processes import serve
serve(pipe)
"""


class OtherProcess:
    """A fresh interpreter with the settings of this one."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603, because it runs what is above.
                [sys.executable, "-c", _START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._pipe.send([entry or str(Path.cwd()) for entry in sys.path])
        self._pipe.send({**settings, "DATABASES": _NO_DEFAULT})

    def start(self, errand: Callable[..., object], *arguments: object, **options: object) -> None:
        """Have a function of a module run there; ``result`` waits for it."""
        self._pipe.send((errand, arguments, options))

    def is_done(self, *, within: float) -> bool:
        """Tell whether what was started ends within some seconds."""
        return self._pipe.poll(within)

    def result(self) -> object:
        """Return what the function returned.

        Raises ``AssertionError`` with the traceback when it raised, ended its process or takes
        longer than ``LONG`` seconds.
        """
        if not self._pipe.poll(LONG):
            raise AssertionError(f"The other process did not answer within {LONG:g} s.")
        try:
            answer, failure = cast("tuple[object, str]", self._pipe.recv())
        except EOFError:
            raise AssertionError("The other process ended.") from None
        if failure:
            raise AssertionError(f"In the other process:\n{failure}")
        return answer

    def call(self, errand: Callable[..., object], *arguments: object, **options: object) -> object:
        """Run a function there to its end."""
        self.start(errand, *arguments, **options)
        return self.result()

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it end, if it has not."""
        self._pipe.close()
        try:
            self._process.wait(LONG)
        except subprocess.TimeoutExpired:
            self.kill()


def serve(pipe: Connection) -> None:
    """Run what arrives and answer, until the other end is closed."""
    Hooks.when_missing = staticmethod(refuse_to_make)
    while True:
        try:
            errand, arguments, options = cast("Errand", pipe.recv())
        except EOFError:
            return
        try:
            pipe.send((errand(*arguments, **options), ""))
        except Exception:  # noqa: BLE001, because the process that asked raises it.
            pipe.send((None, traceback.format_exc()))
