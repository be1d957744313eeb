"""Start and stop the example site under real servers, for tests that need one."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "example"
PYTHON_PATH = [EXAMPLE, ROOT, ROOT / "src"]


SETTINGS = "tests.example_settings"


def environment(data: Path, *, settings: str = SETTINGS) -> dict[str, str]:
    """Return the environment in which the example keeps its files in `data`."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": settings,
        "NOTEBOOK_DATA": str(data),
        "PYTHONPATH": os.pathsep.join(map(str, PYTHON_PATH)),
        "NO_COLOR": "1",
    }


def manage(data: Path, *arguments: str, settings: str = SETTINGS) -> str:
    """Run the example's manage.py and return its output; raise when it fails."""
    finished = subprocess.run(
        [sys.executable, EXAMPLE / "manage.py", *arguments],
        env=environment(data, settings=settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


@contextmanager
def gunicorn(
    data: Path, *, workers: int = 2, threads: int = 4, settings: str = SETTINGS
) -> Iterator[str]:
    """Serve the example from `data` under gunicorn and yield its address."""
    listener = socket.create_server((HOST, 0))
    command = ["gunicorn", "notebook.wsgi", "--bind", f"fd://{listener.fileno()}"]
    command += ["--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads)]
    command += ["--no-control-socket"]  # because it would lie in the home directory
    with served(command, listener=listener, data=data, settings=settings) as address:
        yield address


@contextmanager
def uvicorn(data: Path, *, workers: int = 1) -> Iterator[str]:
    """Serve the example from `data` under uvicorn and yield its address."""
    listener = socket.create_server((HOST, 0))
    command = ["uvicorn", "notebook.asgi:application", "--fd", str(listener.fileno())]
    command += ["--lifespan", "off", "--workers", str(workers)]
    with served(command, listener=listener, data=data) as address:
        yield address


@contextmanager
def served(
    command: list[str], *, listener: socket.socket, data: Path, settings: str = SETTINGS
) -> Iterator[str]:
    """Run a server module on a listening socket until the block ends.

    An error inside the block, also that of a server which died, carries the end of its log.
    """
    address = f"http://{HOST}:{listener.getsockname()[1]}"
    log = data / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=EXAMPLE,
            env=environment(data, settings=settings),
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    listener.close()  # because a dead server must refuse, not leave callers in the queue
    try:
        httpx.get(f"{address}/log-in/", timeout=30).raise_for_status()
        yield address
        assert server.poll() is None, f"{command[0]} ended before it was asked to"
    except Exception as error:
        error.add_note(f"The end of the log of {command[0]}:\n{log.read_text()[-5000:]}")
        raise
    finally:
        stop(server)


def stop(server: "subprocess.Popen[bytes]") -> int:
    """Ask the server to end, wait up to 20 seconds, and return its exit status."""
    server.terminate()
    try:
        return server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        raise
