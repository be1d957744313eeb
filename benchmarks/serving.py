"""Servers of contenders: gunicorn and uvicorn on the loopback address, stopped at the end of a block."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import ROOT
from benchmarks.field import Site

MARK = "A view raised: "

#: Threads of each process of gunicorn.
THREADS = 8


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    log: Path

    def errors(self) -> list[str]:
        """Return what its views have raised."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(MARK)]


@contextmanager
def gunicorn(site: Site, *, processes: int) -> Iterator[Server]:
    """Serve a contender's site with so many processes of eight threads each."""
    command = ["gunicorn", "benchmarks.served:application", "--bind", "127.0.0.1:{port}"]
    command += ["--workers", str(processes), "--threads", str(THREADS)]
    command += ["--worker-class", "gthread", "--keep-alive", "60", "--log-level", "warning"]
    with _running(site, command) as server:
        yield server


@contextmanager
def uvicorn(site: Site) -> Iterator[Server]:
    """Serve a contender's site asynchronously, with one process."""
    command = ["uvicorn", "benchmarks.served:asynchronous", "--port", "{port}", "--no-access-log"]
    command += ["--host", "127.0.0.1", "--log-level", "warning", "--lifespan", "off"]
    with _running(site, command) as server:
        yield server


@contextmanager
def _running(site: Site, command: list[str]) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = site.directory / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [site.python, "-m", *(part.format(port=port) for part in command)],
            cwd=ROOT,
            env=site.surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_it_answers(process, port, log)
            yield Server(port, log)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The server does not answer:\n{log.read_text()}")
