"""The installation guide works as written: its own snippets, pasted into a new project, which is driven."""

import ast
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.documents import GUIDE, Block, Project, blocks_of, commands_of

#: The app of the guide's reader. Its `create()` takes the guide's `...` for "whatever it needs".
MODELS = """
from django.db import models


class Models(models.Manager):
    def create(self, *placeholders, **values):
        assert placeholders in {(), (...,)}
        return super().create(**values)


class Model(models.Model):
    text = models.CharField(max_length=20, default="from the guide")
    objects = Models()

    def __str__(self):
        return self.text
"""

#: What the guide's reader may now expect of the test runner.
TESTS = """
from django.contrib.auth.models import User
from django.test import TestCase

from dsud.context_manager import set_user_in_middleware
from your_app.models import Model


class EnrolledUserTests(TestCase):
    def test_user_is_enrolled(self):
        user = User.objects.get()
        self.assertEqual((user.pk, user.username), (1337, "user_1337"))
        self.assertTrue(self.client.login(username="user_1337", password="secret"))

    def test_user_has_a_database(self):
        user = User.objects.get(pk=1337)
        with set_user_in_middleware(user):
            self.assertEqual(Model.objects.count(), 0)
            Model.objects.create()
            self.assertEqual(Model.objects.count(), 1)
            Model.objects.all().delete()
"""

CREATE_SUPERUSER = (
    "DJANGO_SUPERUSER_PASSWORD=secret python manage.py createsuperuser"
    " --noinput --username admin --email admin@example.com"
)


class Guide:
    """The guide's snippets, each taken from the page once, by what it says."""

    def __init__(self) -> None:
        self.blocks = list(blocks_of(GUIDE))

    def take(self, part: str) -> Block:
        """Return the one block that contains a text, and count it as used."""
        (found,) = [block for block in self.blocks if part in block.text]
        self.blocks.remove(found)
        return found


def install(project: Project, guide: Guide) -> None:
    """Paste the snippets where the guide tells its reader to.

    The reader has an app, named like the guide's placeholder, at the head of INSTALLED_APPS. A line
    of three dots in a list stands for what a new project has there, as `documents.merge` explains.
    """
    project.run("django-admin startproject mysite . && python manage.py startapp your_app")
    project.write("your_app/models.py", MODELS)
    project.write("mysite/settings.py", "INSTALLED_APPS = ['your_app', ...]")
    assert "pip install django-sqlite-user-db" in guide.take("pip install").text
    for part in ("DatabaseSwitchMiddleware", "DSUD_APPS", "USER_SQLITE_DB_MANAGER"):
        project.write("mysite/settings.py", guide.take(part).text)
    admin = guide.take("dsud.admin.UserAdmin")
    project.write(str(admin.file), admin.text)
    project.write("mysite/urls.py", guide.take('namespace="dsud"').text)
    # In the app's templates, because a new project has no directory of its own for them.
    project.write("your_app/templates/admin/base_site.html", guide.take("{% extends").text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project of somebody who has followed the guide to its end."""
    project, guide = Project(tmp_path_factory.mktemp("guide")), Guide()
    install(project, guide)
    project.run("python manage.py makemigrations your_app")
    for command, _ in commands_of(guide.take("manage.py migrate")):
        project.run(command)
    project.run(CREATE_SUPERUSER)
    make_user = 'User.objects.create_user("example_user", password="secret")'
    project.run(f"python manage.py shell -v 0 -c '{make_user}'")
    manual = project.root / "manual_entry.py"
    manual.write_text(guide.take("set_user_in_middleware(user)").text)
    # In the shell, which knows the `User` that the guide assumes.
    project.run(f"python manage.py shell -v 0 < {manual.name}")
    assert guide.blocks == []
    return project


def column(file: Path, query: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return [value for (value,) in connection.execute(query)]


def rows_of_users(site: Project) -> dict[str, list[str]]:
    """Return the rows of the guide's model on disk, by the user whose file they are in."""
    files = (site.root / "user_databases").glob("??/*/1/db.sqlite3")
    rows = "SELECT text FROM your_app_model"
    return {column(file, "SELECT * FROM dsud_identity")[0]: column(file, rows) for file in files}


def assignments(settings: str) -> dict[str, object]:
    """Return what a file of settings assigns, as far as it is written out."""
    found: dict[str, object] = {}
    for statement in ast.parse(settings).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                found[statement.targets[0].id] = ast.literal_eval(statement.value)
            except ValueError:
                found[statement.targets[0].id] = ast.unparse(statement.value)
    return found


@pytest.mark.slow
def test_settings__have_nothing_beyond_the_guide(site: Project, tmp_path: Path) -> None:
    Project(tmp_path).run("django-admin startproject mysite .")
    new = assignments((tmp_path / "mysite/settings.py").read_text())
    ours = assignments((site.root / "mysite/settings.py").read_text())

    del new["SECRET_KEY"]
    assert {name: ours[name] for name in ours if name not in new and name != "SECRET_KEY"} == {
        "DATABASE_ROUTERS": ["dsud.router.UserSpecificDatabaseRouter"],
        "TEST_RUNNER": "dsud.test_runner.UserSQLiteDBManagerTestRunner",
        "DSUD_APPS": ["your_app"],
        "USER_SQLITE_DB_MANAGER_TEST_USER_DETAILS": [
            {"id": 1337, "username": "user_1337", "password": "secret"}
        ],
    }
    changed = {name: ours[name] for name in new if ours[name] != new[name]}
    assert changed == {
        "INSTALLED_APPS": ["your_app", *new["INSTALLED_APPS"], "dsud"],
        "MIDDLEWARE": [*new["MIDDLEWARE"], "dsud.middleware.DatabaseSwitchMiddleware"],
    }


@pytest.mark.slow
def test_check__finds_nothing(site: Project) -> None:
    output = site.run("python manage.py check --fail-level WARNING")

    assert output == "System check identified no issues (0 silenced).\n"


@pytest.mark.slow
def test_manual_entry__is_in_that_users_database_only(site: Project) -> None:
    assert rows_of_users(site) == {"1": [], "2": ["from the guide", "from the guide"]}
    tables = column(site.root / "db.sqlite3", "SELECT name FROM sqlite_master")
    assert [name for name in tables if "your_app" in name] == []


@pytest.mark.slow
@pytest.mark.server
def test_switch_user__button_opens_that_users_rows(site: Project) -> None:
    with (
        site.serve("python manage.py runserver") as address,
        httpx.Client(base_url=address) as browser,
    ):
        post(browser, "/admin/login/", {"username": "admin", "password": "secret"})
        assert "from the guide" not in browser.get("/admin/your_app/model/").text

        target, user_id = button_beside(browser.get("/admin/auth/user/").text, "example_user")
        post(browser, "/admin/auth/user/", {"user_id": user_id}, to=target)
        page = browser.get("/admin/your_app/model/").text
        assert page.count("from the guide</a>") == 2
        assert "You see the data of <strong>example_user</strong>" in page

        post(browser, "/admin/", {}, to="/admin/switch-user/end/")
        assert "from the guide" not in browser.get("/admin/your_app/model/").text


def button_beside(page: str, username: str) -> tuple[str, str]:
    """Return where the button in the row of a user sends its form, and what it sends."""
    (row,) = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if f">{username}<" in row]
    button = re.search(
        r'formaction="([^"]+)" name="user_id" value="([^"]+)">Switch user</button>', row
    )
    assert button, row
    return button[1], button[2]


def post(browser: httpx.Client, page: str, form: dict[str, str], *, to: str = "") -> None:
    """Open a page, send a form from it, and expect to be sent on."""
    browser.get(page)
    token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    answer = browser.post(to or page, data=form | token)
    assert answer.status_code == 302, answer.text


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["", "--parallel 2"])
def test_test_runner__enrols_users_and_leaves_the_site_alone(site: Project, arguments: str) -> None:
    before = files_of(site)
    site.write("your_app/tests.py", TESTS)
    try:
        output = site.run(f"python manage.py test {arguments}")
    finally:
        (site.root / "your_app/tests.py").unlink()

    assert "Ran 2 tests" in output
    assert output.count("\nOK\n") == 1
    assert files_of(site) == before


def files_of(site: Project) -> dict[Path, bytes]:
    """Return every file with the site's data and its contents."""
    files = [site.root / "db.sqlite3", *(site.root / "user_databases").rglob("*")]
    return {file: file.read_bytes() for file in files if file.is_file()}
