"""An interpreter that has imported what needs no settings, and forks for each script that it is given."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, cast

ROOT = Path(__file__).parents[1]

#: Seconds that a script may take.
TIMEOUT = 120

#: To import these is half of what most scripts do; nothing here knows settings, models or dsud.
IMPORTS = """
import asyncio, concurrent.futures, multiprocessing, shutil, sqlite3, tempfile, unittest.mock
import django.core.management.commands.migrate, django.core.management.commands.flush
import django.core.servers.basehttp, django.core.handlers.wsgi, django.core.handlers.asgi
import django.core.serializers.json, django.core.cache.backends.locmem, django.core.files.storage
import django.db.backends.sqlite3.base, django.db.migrations.executor, django.db.models
import django.forms, django.template.loader, django.template.loader_tags, django.test
import django.middleware.csrf, django.middleware.common, django.views.generic, django.urls
import rich.console, rich.progress, rich.table
"""

#: A child for each line that is read; it ends as the script does, which is its main program.
SERVE = """
import gc, json, os, sys, types
gc.collect()
gc.freeze()
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        break
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    os._exit(0)
told = json.loads(line)
os.environ.clear()
os.environ.update(told["environment"])
os.chdir(told["directory"])
sys.path[1:1] = told["environment"].get("PYTHONPATH", "").split(os.pathsep)
for number, path in enumerate([os.devnull, told["output"], told["errors"]]):
    opened = os.open(path, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY)
    os.dup2(opened, number)
    os.close(opened)
sys.argv = ["-c", *told["arguments"]]
sys.modules["__main__"] = types.ModuleType("__main__")
exec(compile(told["code"], "<string>", "exec"), vars(sys.modules["__main__"]))
"""

#: What differs from script to script reaches the child only.
KEPT_BACK = ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")


class Interpreter:
    """A process that is kept, and has a child for each script."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", IMPORTS + SERVE],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in KEPT_BACK},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # Because one waits for what is not in a buffer.
        )

    def close(self) -> None:
        """End the process."""
        cast("IO[bytes]", self._process.stdin).close()  # It ends when it is told no more.
        with self._process:
            pass

    def run(self, code: str, *arguments: str, **told: object) -> "subprocess.CompletedProcess[str]":
        """Run a script to its end."""
        with NamedTemporaryFile("r") as output, NamedTemporaryFile("r") as errors:
            files = {"output": output.name, "errors": errors.name}
            self._tell({"code": code, "arguments": arguments, **files, **told})
            child = self._hear()
            if not select.select([self._process.stdout], [], [], TIMEOUT)[0]:
                os.kill(child, signal.SIGKILL)
                self._hear()
                raise subprocess.TimeoutExpired(code, TIMEOUT, output.read(), errors.read())
            returncode = self._hear()
            return subprocess.CompletedProcess(code, returncode, output.read(), errors.read())

    def _tell(self, request: dict[str, object]) -> None:
        cast("IO[bytes]", self._process.stdin).write(json.dumps(request).encode() + b"\n")

    def _hear(self) -> int:
        return int(cast("IO[bytes]", self._process.stdout).readline())


interpreter = cache(Interpreter)
_busy = threading.Lock()


def close() -> None:
    """End the interpreter, if there is one."""
    if interpreter.cache_info().currsize:
        interpreter().close()
        interpreter.cache_clear()


def run(
    code: str, *arguments: str, environment: Mapping[str, str], directory: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Run a script as ``python -c`` does, and return what it prints."""
    if _busy.acquire(blocking=False):
        try:
            return interpreter().run(
                code, *arguments, environment=dict(environment), directory=str(directory)
            )
        finally:
            _busy.release()
    # Because scripts that run side by side may wait for each other.
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
