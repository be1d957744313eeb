"""The documentation is true: its blocks run, and it names everything that there is and nothing else."""

import shutil
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import httpx
import pytest

from tests.documents import DOCS, README, Block, Project, Visit, blocks_of, follow, pages
from tests.servers import EXAMPLE, ROOT

LANGUAGES = {"python", "pycon", "console", "html"}

#: Commands in the documentation that are not run, and why.
NOT_RUN = {
    "python -m pip install": "it would fetch a release; what is tested is installed already",
    "make test": "it runs this very test",
    "make demo": "tests/test_example.py runs what it runs, example/demo.py",
}

#: Pages that another test works through.
ELSEWHERE = {
    DOCS / "howto/install-in-an-existing-project.md": "tests/test_guide.py",
}


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example with users, for tests to copy."""
    project = Project(tmp_path_factory.mktemp("documentation") / "notebook")
    copy_without_data(EXAMPLE, project.root)
    project.run("python manage.py migrate")
    project.run(f"python manage.py shell -v 0 -c '{PEOPLE}'")
    return project.root


PEOPLE = """
from django.contrib.auth.models import User
from dsud import use_user
from notes.models import Note
people = [User.objects.create_user(name, password="secret") for name in ("alice", "bob")]
User.objects.create_superuser("admin", password="secret")
for user in people:
    with use_user(user):
        Note.objects.create(title=f"Written by {user}")
"""


def copy_without_data(source: Path, target: Path) -> Path:
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("data", "__pycache__"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def just_look(address: str) -> None:
    assert httpx.get(f"{address}/log-in/").status_code == 200


def write_notes_as_two_people(address: str) -> None:
    for name, title in (("alice", "Soup"), ("bob", "Bike")):
        with httpx.Client(base_url=address) as browser:
            passwords = {"password1": "q7-quiet-river", "password2": "q7-quiet-river"}
            assert send(browser, "/sign-up/", username=name, **passwords) == "/"
            assert "Nothing here yet." in browser.get("/").text
            assert send(browser, "/new/", title=title) == "/"
            assert f'<a href="/1/edit/">{title}</a>' in browser.get("/").text


def switch_to_bob(address: str) -> None:
    with httpx.Client(base_url=address) as browser:
        send(browser, "/admin/login/", username="admin", password="admin-demo")
        assert "Whose data do you want to open?" in browser.get("/admin/notes/note/").text
        users = browser.get("/admin/auth/user/").text
        assert 'name="user_id" value="2">Switch user</button>' in users
        send(browser, "/admin/auth/user/", to="/admin/switch-user/", user_id="2")
        notes = browser.get("/admin/notes/note/").text
        assert "You see the data of <strong>bob</strong>" in notes
        assert "Bike" in notes
        assert "Soup" not in notes
        send(browser, "/admin/", to="/admin/switch-user/end/")
        assert "Bike" not in browser.get("/admin/notes/note/").text
        assert "Opened this user" in browser.get("/admin/auth/user/2/history/").text


def send(browser: httpx.Client, form: str, *, to: str | None = None, **fields: str) -> str:
    """Open a page with a form, send the form, expect to be sent on, and return where to."""
    browser.get(form)
    token = browser.cookies["csrftoken"]
    answer = browser.post(to or form, data={"csrfmiddlewaretoken": token, **fields})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


#: What the readers of a page do with the servers that it starts, one after the other.
VISITS: dict[str, list[Visit]] = {
    "docs/tutorial.md": [write_notes_as_two_people, switch_to_bob],
}


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(set(pages()) - set(ELSEWHERE)), ids=name_of)
def test_blocks__do_what_the_page_says(page: Path, notebook: Path, tmp_path: Path) -> None:
    blocks = list(blocks_of(page))
    project = Project(tmp_path / "project")
    if page == DOCS / "tutorial.md":
        project.root.mkdir()
    else:
        shutil.copytree(notebook, project.root)
    visits = chain(VISITS.get(name_of(page), []), repeat(just_look))

    follow(project, blocks, visit=lambda address: next(visits)(address), skipped=list(NOT_RUN))
