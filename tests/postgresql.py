"""A PostgreSQL of the test's own: on the loopback address, in a scratch directory, stopped at its end."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Where Debian and its kin put what is not for everybody's PATH.
ELSEWHERE = "/usr/lib/postgresql/*/bin"


def program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL's."""
    found = [str(path) for path in sorted(Path("/").glob(f"{ELSEWHERE[1:]}/{name}"))]
    return shutil.which(name) or (found[-1] if found else None)


@contextmanager
def server(directory: Path) -> Iterator[int]:
    """Run a server that trusts its user, and give its port; skip the test where that cannot be."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL IS NOT TESTED: install its server (initdb and postgres).")
    as_user, options = as_ordinary_user(directory)
    data = directory / "data"
    subprocess.run(
        [*as_user, initdb, "-D", data, "-U", "workshop", "-A", "trust", "-E", "UTF8", "-N"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["listen_addresses=127.0.0.1", f"port={port}", "fsync=off"]
    settings += [f"unix_socket_directories={directory}"]
    command = [
        *as_user,
        postgres,
        "-D",
        data,
        *(part for each in settings for part in ("-c", each)),
    ]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **options)
        try:
            wait_until_it_answers(process, port, directory / "log")
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


def as_ordinary_user(directory: Path) -> tuple[list[str], dict[str, object]]:
    """Return how to run a program as somebody whom PostgreSQL does not refuse, as it does root."""
    if os.geteuid() != 0:
        return [], {}
    setpriv = shutil.which("setpriv")
    names = [each.pw_name for each in pwd.getpwall()]
    user = next((name for name in ("postgres", "nobody") if name in names), None)
    if setpriv is None or user is None:
        pytest.skip(
            "PostgreSQL IS NOT TESTED: it refuses root, and there is no setpriv or no user."
        )
    entry = pwd.getpwnam(user)
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    for parent in directory.parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return [setpriv, f"--reuid={user}", f"--regid={entry.pw_gid}", "--clear-groups"], {}


def wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"PostgreSQL IS NOT TESTED: it does not start: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            time.sleep(0.5)
            return
    pytest.skip(f"PostgreSQL IS NOT TESTED: it does not answer: {log.read_text()}")
