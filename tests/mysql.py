"""A MariaDB of the test's own: on a socket in a scratch directory, stopped at its end."""

import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from os import geteuid, pathsep
from pathlib import Path

import pytest

from tests.mysql_site import install_driver

#: Where Debian and its kin put what is not for everybody's PATH.
ELSEWHERE = f"{pathsep}/usr/sbin{pathsep}/usr/local/sbin"


def program(name: str) -> str | None:
    """Return the path of a program of MariaDB's."""
    return shutil.which(name) or shutil.which(name, path=ELSEWHERE)


@contextmanager
def server(directory: Path) -> Iterator[Path]:
    """Run a server that trusts its user, and give its socket; skip the test where that cannot be."""
    install, mariadbd = program("mariadb-install-db"), program("mariadbd")
    if install is None or mariadbd is None:
        pytest.skip(
            "MySQL IS NOT TESTED: install MariaDB's server (mariadb-install-db and mariadbd)."
        )
    try:
        install_driver()
    except ImportError:
        pytest.skip("MySQL IS NOT TESTED: install PyMySQL or mysqlclient.")
    # Named, because as root it runs only when it is told so.
    options = [f"--datadir={directory / 'data'}", f"--user={pwd.getpwuid(geteuid()).pw_name}"]
    made = subprocess.run(
        [install, "--no-defaults", *options, "--auth-root-authentication-method=normal"],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"MySQL IS NOT TESTED: it cannot be set up: {made.stdout}{made.stderr}")
    socket = directory / "socket"
    options += [f"--socket={socket}", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([mariadbd, "--no-defaults", *options], stdout=log, stderr=log)
        try:
            wait_until_it_answers(process, socket, directory / "log")
            yield socket
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_until_it_answers(process: "subprocess.Popen[bytes]", socket: Path, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if socket.exists():
            execute(socket, "SELECT 1")
            return
        time.sleep(0.05)
    pytest.skip(f"MySQL IS NOT TESTED: it does not answer: {log.read_text()}")


def execute(socket: Path, sql: str) -> None:
    """Run a statement on the server, in no database."""
    import MySQLdb

    with (
        closing(MySQLdb.connect(unix_socket=str(socket), user="root")) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute(sql)
