"""A PostgreSQL on the loopback address, in a scratch directory, stopped at the end of a block."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: Where Debian and its kin put what is not for everybody's PATH.
_ELSEWHERE = "usr/lib/postgresql/*/bin"


class CannotStart(Exception):
    """Raised when there is no PostgreSQL to be had; says why."""


def program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL's."""
    found = [str(path) for path in sorted(Path("/").glob(f"{_ELSEWHERE}/{name}"))]
    return shutil.which(name) or (found[-1] if found else None)


@contextmanager
def server(
    directory: Path, *, user: str, options: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a server that trusts `user`, and give its port; raise `CannotStart` where that cannot be.

    `options` are settings of the server beside its defaults, with which a commit is durable.
    """
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        raise CannotStart("install its server (initdb and postgres).")
    as_user = _as_ordinary_user(directory)
    data = directory / "data"
    make: list[str | Path] = [
        *as_user,
        initdb,
        "-D",
        data,
        "-U",
        user,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "-N",
    ]
    subprocess.run(make, check=True, capture_output=True, cwd="/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(directory),
        **(options or {}),
    }
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*as_user, postgres, "-D", data, *given], stdout=output, stderr=output, cwd="/"
        )
        try:
            _wait_until_it_answers(process, port, log)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


def _as_ordinary_user(directory: Path) -> list[str]:
    """Return how to run a program as somebody whom PostgreSQL does not refuse, as it does root."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    names = [each.pw_name for each in pwd.getpwall()]
    user = next((name for name in ("postgres", "nobody") if name in names), None)
    if setpriv is None or user is None:
        raise CannotStart("it refuses root, and there is no setpriv or no user.")
    entry = pwd.getpwnam(user)
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    for parent in directory.parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return [setpriv, f"--reuid={user}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CannotStart(f"it does not start: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            time.sleep(0.5)
            return
    raise CannotStart(f"it does not answer: {log.read_text()}")
