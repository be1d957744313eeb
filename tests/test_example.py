"""The example is what it claims: checked, tested, free of per-user filters, and served by its demo."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers import EXAMPLE, HOST, environment, manage

SETTINGS = "notebook.settings"


def files_in(folder: Path) -> set[Path]:
    return {
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def test_check__finds_nothing(tmp_path: Path) -> None:
    output = manage(tmp_path, "check", "--fail-level", "WARNING", settings=SETTINGS)

    assert output == "System check identified no issues (0 silenced).\n"


def test_makemigrations__has_nothing_to_make(tmp_path: Path) -> None:
    output = manage(tmp_path, "makemigrations", "--check", settings=SETTINGS)

    assert output == "No changes detected\n"


def test_own_tests__pass_and_leave_no_file(tmp_path: Path) -> None:
    before = files_in(EXAMPLE)
    output = manage(tmp_path, "test", "notes", settings=SETTINGS)

    assert re.search(r"^Ran 1\d tests in .*\n\nOK\n", output, re.MULTILINE), output
    assert files_in(tmp_path) == set()
    assert files_in(EXAMPLE) == before


@pytest.mark.parametrize("module", ["models.py", "views.py", "forms.py"])
def test_code__has_no_filter_by_user(module: str) -> None:
    code = (EXAMPLE / "notes" / module).read_text()

    assert re.findall(r"owner|author|request\.user|user_id|ForeignKey|dsud", code) == []


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start_demo(data: Path, *, port: int | str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, EXAMPLE / "demo.py"],
        env=environment(data, settings=SETTINGS) | {"PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def running_demo(data: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    port = free_port()
    with start_demo(data, port=port) as demo:
        try:
            wait_until_it_answers(demo, port)
            yield demo, f"http://{HOST}:{port}"
        finally:
            demo.kill()


def wait_until_it_answers(demo: "subprocess.Popen[str]", port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and demo.poll() is None:
        try:
            return socket.create_connection((HOST, port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)  # because the demo migrates before it listens
    demo.kill()
    pytest.fail(f"The demo does not answer: {demo.communicate()[0]}")


def stop_with_ctrl_c(demo: "subprocess.Popen[str]") -> str:
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=20)
    assert demo.returncode == 0, output
    assert "Traceback" not in output
    return output


def list_of(address: str, name: str) -> str:
    with httpx.Client(base_url=address, timeout=30, follow_redirects=True) as browser:
        browser.get("/log-in/")
        token = browser.cookies["csrftoken"]
        form = {"username": name, "password": f"{name}-demo", "csrfmiddlewaretoken": token}
        return browser.post("/log-in/", data=form).text


def test_demo__shows_everybody_their_own_notes(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, address):
        alice, bob = list_of(address, "alice"), list_of(address, "bob")
        output = stop_with_ctrl_c(demo)

    assert "Pumpkin soup" in alice
    assert "Sunday loop" not in alice
    assert "Sunday loop" in bob
    assert "Pumpkin soup" not in bob
    assert address in output
    assert "alice-demo" in output


def test_demo__second_start_is_quick_and_adds_nothing(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, address):
        first = list_of(address, "carol")
        stop_with_ctrl_c(demo)
    started = time.monotonic()
    with running_demo(tmp_path) as (demo, address):
        seconds = time.monotonic() - started
        second = list_of(address, "carol")
        stop_with_ctrl_c(demo)

    assert titles_in(second) == titles_in(first) != []
    assert seconds < 10


def titles_in(page: str) -> list[str]:
    return re.findall(r"<h2><a [^>]*>(.*?)</a></h2>", page)


def test_demo__port_in_use(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        demo = start_demo(tmp_path, port=port)
        output, _ = demo.communicate(timeout=30)

    assert demo.returncode == 1
    assert " ".join(output.split()) == (
        f"Port {port} cannot be used (Address already in use). Try another one: PORT=8001 make demo"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_demo__port_that_is_none(port: str, tmp_path: Path) -> None:
    demo = start_demo(tmp_path, port=port)
    output, _ = demo.communicate(timeout=30)

    assert demo.returncode == 1
    assert output == f"PORT={port} is not a port. Try: PORT=8001 make demo\n"
