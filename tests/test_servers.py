"""Many people use the example at once, under real servers, and nobody meets anybody else's rows."""

import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from functools import partial
from html import unescape
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from tests.servers import gunicorn, manage, uvicorn

PEOPLE = [f"person{number:02}" for number in range(20)]
PASSWORD = "q7-quiet-river"

Server = Callable[[Path], AbstractContextManager[str]]

pytestmark = pytest.mark.server


@pytest.mark.parametrize("notes", [25, pytest.param(50, marks=pytest.mark.once)])
@pytest.mark.parametrize("server", [gunicorn, uvicorn])
def test_people__sign_up_and_write_at_once(server: Server, notes: int, tmp_path: Path) -> None:
    manage(tmp_path, "migrate")
    together = Barrier(len(PEOPLE))
    with server(tmp_path) as address, ThreadPoolExecutor(len(PEOPLE)) as pool:
        use_site = partial(sign_up_write_and_read, address, notes=notes, together=together)
        seen = dict(zip(PEOPLE, pool.map(use_site, PEOPLE), strict=True))

    assert seen == {name: titles_of(name, notes) for name in PEOPLE}
    assert sorted(rows_on_disk(tmp_path)) == sorted(titles_of(name, notes) for name in PEOPLE)
    assert not [table for table in tables(tmp_path / "default.sqlite3") if "notes" in table]


def titles_of(name: str, notes: int) -> list[str]:
    return [f"{name} writes note {number:02}" for number in range(notes)]


def sign_up_write_and_read(address: str, name: str, *, notes: int, together: Barrier) -> list[str]:
    with httpx.Client(base_url=address, timeout=60) as browser:
        together.wait()
        passwords = {"password1": PASSWORD, "password2": PASSWORD}
        submit(browser, "/sign-up/", username=name, **passwords)
        for title in titles_of(name, notes):
            submit(browser, "/notes/new/", title=title, body=f"by {name}", tag_names=f"{name}, all")
        return sorted(read_all_pages(browser))


def submit(browser: httpx.Client, form: str, **fields: str) -> None:
    """Open the page of a form, fill the form in, send it, and expect to be sent on."""
    page = browser.get(form)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token, page.text
    answer = browser.post(form, data={"csrfmiddlewaretoken": token[1], **fields})
    assert answer.status_code == 302, answer.text


def read_all_pages(browser: httpx.Client) -> list[str]:
    titles, following = [], "/"
    while following:
        page = browser.get(following)
        assert page.status_code == 200, page.text
        titles += re.findall(r"<h2><a [^>]*>(.*?)</a></h2>", page.text)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        following = unescape(older[1]) if older else ""
    return titles


def rows_on_disk(data: Path) -> list[list[str]]:
    files = (data / "user_databases").glob("**/db.sqlite3")
    return [column(file, "SELECT title FROM notes_note ORDER BY title") for file in files]


def tables(file: Path) -> list[str]:
    return column(file, "SELECT name FROM sqlite_master WHERE type = 'table'")


def column(file: Path, query: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return [value for (value,) in connection.execute(query)]
