"""The documentation is true: its blocks run, and it names everything that there is and nothing else."""

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import shutil
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import httpx
import pytest
from django import template
from django.core.management import BaseCommand, load_command_class
from django.dispatch import Signal
from django.template import engines as template_engines
from django.urls import reverse
from django.utils.module_loading import import_string

import dsud
from dsud import signals, urls
from dsud.conf import Conf, EngineSettings, conf
from dsud.engines.sqlite.connection import OPTIONS
from dsud.exceptions import DSUDError
from tests.documents import (
    DOCS,
    GUIDE,
    README,
    Block,
    Project,
    Visit,
    blocks_of,
    commands_of,
    follow,
    headings_of,
    merge,
    pages,
    prose_of,
    section_of,
)
from tests.servers import EXAMPLE, ROOT

PACKAGE = ROOT / "src/dsud"
REFERENCE = DOCS / "reference"

#: Commands in the documentation that are not run, and why.
NOT_RUN = {
    "python -m pip install": "it would fetch a release; what is tested is installed already",
    "make test": "it runs this very test",
    "make demo": "tests/test_example.py runs what it runs, example/demo.py",
}

#: Pages that another test works through.
ELSEWHERE = {
    GUIDE: "tests/test_guide.py pastes its blocks into a new project",
    DOCS / "howto/background-work.md": "tests/contrib/test_documents.py runs it with a broker",
}


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example with users, for tests to copy."""
    project = Project(tmp_path_factory.mktemp("documentation") / "notebook")
    copy_without_data(EXAMPLE, project.root)
    project.run("python manage.py startapp diary")
    project.write("notebook/settings.py", DIARY)
    project.run("python manage.py migrate")
    project.run(f"python manage.py shell -v 0 -c '{PEOPLE}'")
    return project.root


DIARY = """
INSTALLED_APPS = [..., "diary"]
DSUD_APPS = ["notes", "diary"]
"""
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

    def visit(address: str) -> None:
        next(visits)(address)

    follow(project, blocks, visit=visit, skipped=list(NOT_RUN))

    if any(block.file for block in blocks):
        assert_usable(project, {str(block.file) for block in blocks if block.file})


def assert_usable(project: Project, files: set[str]) -> None:
    """Check the project, import each module, and compile each template."""
    lines = ["from django.core.management import call_command", "call_command('check')"]
    lines.append("from django.template.loader import get_template")
    for file in sorted(files - {"conftest.py"}):
        if file.endswith(".py"):
            lines.append(f"import {file.removesuffix('.py').replace('/', '.')}")
        else:
            lines.append(f"get_template('{file.partition('templates/')[2]}')")
    assert "no issues" in project.shell("; ".join(lines))


def test_not_run__is_as_short_as_it_can_be() -> None:
    blocks = [block for page in pages() for block in blocks_of(page)]
    consoles = [block for block in blocks if block.language == "console"]
    commands = [command for block in consoles for command, _ in commands_of(block)]

    assert [each for each in NOT_RUN if not any(map_startswith(commands, each))] == []
    for target in [name.removeprefix("make ") for name in NOT_RUN if name.startswith("make ")]:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def map_startswith(texts: list[str], start: str) -> Iterator[bool]:
    return (text.startswith(start) for text in texts)


# That a block which is wrong is found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "from notes.models import Note\nNote.objects.count()\n"),
        ("python", "assert 1 == 2\n"),
        ("pycon", ">>> 1 + 1\n3\n"),
        ("console", "$ python manage.py no_such_command\n"),
        ("console", "$ python manage.py check\nSystem check identified 7 issues.\n"),
        ("console", "python manage.py check\n"),
        ("nonsense", "whatever\n"),
        ("html", "<p>a block that is no file of the project</p>\n"),
    ],
)
def test_follow__block_that_is_wrong(language: str, text: str, notebook: Path) -> None:
    blocks = [Block(README, 1, language, text)]

    with pytest.raises(AssertionError):
        follow(Project(notebook), blocks, visit=just_look, skipped=[])


def test_merge__lists_assignments_imports_and_the_rest() -> None:
    source = '"""Settings."""\n\nAPPS = [\n    "a",\n    "b",\n]\nNAME = "old"\n'
    snippet = 'import os\nAPPS = [\n    "first",\n    ...\n    "b",\n    "c",\n    ...\n]\n'
    snippet += 'NAME = "new"\nMORE = {}\nMORE["x"] = 1\n'
    namespace: dict[str, object] = {}
    exec(merge(source, snippet), namespace)

    assert namespace["__doc__"] == "Settings."
    assert namespace["os"]
    assert namespace["APPS"] == ["first", "a", "b", "c"]
    assert (namespace["NAME"], namespace["MORE"]) == ("new", {"x": 1})


# That the documentation names everything there is, and nothing else


def test_settings__are_all_documented() -> None:
    there_are = {*conf.names(), *EngineSettings.__annotations__, *OPTIONS}

    assert set(headings_of(REFERENCE / "settings.md")) == there_are


@pytest.mark.parametrize("name", conf.names())
def test_setting__has_its_default_documented(name: str) -> None:
    text = section_of(REFERENCE / "settings.md", f"`{name}`")
    default = re.search(r"^Default: (?:`(.*?)`)?", text, re.MULTILINE)

    assert default, text
    if default[1]:
        assert ast.literal_eval(default[1]) == vars(Conf)[name].default()


@pytest.mark.parametrize("name", OPTIONS)
def test_option__has_its_default_documented(name: str) -> None:
    text = section_of(REFERENCE / "settings.md", f"`{name}`")
    default = re.search(r"^Default: `(.*?)`", text, re.MULTILINE)

    assert default, text
    assert ast.literal_eval(default[1]) == OPTIONS[name]


def commands() -> list[str]:
    folder = PACKAGE / "management/commands"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def test_commands__are_all_documented() -> None:
    assert sorted(headings_of(REFERENCE / "commands.md")) == commands()


#: Taken over from Django, with its arguments.
DJANGOS = {"dumpdata", "loaddata", "testserver"}


@pytest.mark.parametrize("name", sorted(set(commands()) - DJANGOS))
def test_command__has_all_its_arguments_documented(name: str) -> None:
    page = REFERENCE / "commands.md"
    text = section_of(page, "What all of them take") + section_of(page, f"`{name}`")
    documented = re.findall(r"^`([-\w]+).*`$", text, re.MULTILINE)
    command = load_command_class("dsud", name)
    if not getattr(command, "takes_workers", True):
        documented.remove("--workers")

    assert sorted(documented) == sorted(set(arguments_of(command)) - set(arguments_of(Nothing())))


class Nothing(BaseCommand):
    """A command with the arguments that every command has."""


def arguments_of(command: BaseCommand) -> Iterator[str]:
    parser = command.create_parser("manage.py", "command")
    for action in parser._actions:
        yield (action.option_strings or [name_of_positional(action)])[0]


def name_of_positional(action: argparse.Action) -> str:
    return str(action.metavar or action.dest)


def test_checks__are_all_documented() -> None:
    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    there_are = set(re.findall(r"\bdsud\.[EW]\d{3}\b", sources))

    assert headings_of(REFERENCE / "checks.md") == sorted(there_are)


def errors() -> list[type[DSUDError]]:
    """Return every error of the tree, after importing all of the package that can be imported."""
    for module in pkgutil.walk_packages(dsud.__path__, "dsud."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            # A bridge to an optional package which is not installed, or too old.
            assert module.name.startswith("dsud.contrib."), module.name
    found, new = [], [DSUDError]
    while new:
        error = new.pop()
        found.append(error)
        new += error.__subclasses__()
    return [error for error in found if error.__module__.startswith("dsud.")]


def test_errors__are_all_documented() -> None:
    names = {error.__name__ for error in errors()}

    assert set(headings_of(REFERENCE / "errors.md")) == names


def test_errors__have_their_attributes_documented() -> None:
    for error in errors():
        text = section_of(REFERENCE / "errors.md", f"`{error.__name__}`")
        attributes = set(re.findall(r"self\.(\w+) =", inspect.getsource(error)))
        assert attributes <= set(re.findall(r"^`(\w+)`$", text, re.MULTILINE)), error


def test_signals__are_all_documented() -> None:
    there_are = {name for name, value in vars(signals).items() if isinstance(value, Signal)}

    assert set(headings_of(REFERENCE / "signals.md")) == there_are


def names_in_api(pattern: str, *, below: str | None = None) -> set[str]:
    names = headings_of(REFERENCE / "api.md", below=below)
    return {name for name in names if re.fullmatch(pattern, name)}


def test_dotted_paths__are_all_documented() -> None:
    guide = "".join(block.text for block in blocks_of(GUIDE) if block.language != "console")
    promised = set(re.findall(r"""["'](dsud(?:\.\w+)*)["']""", guide))
    promised |= {"dsud.admin.UserAdmin", "dsud.context_manager.set_user_in_middleware"}
    promised |= {f"dsud.{name}" for name in dsud.__all__}
    defaults = [vars(Conf)[name].default() for name in conf.names()]
    promised |= {value for value in defaults if isinstance(value, str) and "." in value}
    promised.add(conf.USER_DATABASES["default"]["ENGINE"])

    assert promised <= names_in_api(r"dsud[.\w]*")


def test_dotted_paths__that_are_documented_exist() -> None:
    for path in names_in_api(r"dsud[.\w]*"):
        try:
            importlib.import_module(path)
        except ModuleNotFoundError:
            import_string(path)


def test_addresses__are_all_documented() -> None:
    there_are = {f"{urls.app_name}:{each.name}" for each in urls.urlpatterns}

    assert names_in_api(r"dsud:\w+") == there_are
    assert all(reverse(name).startswith("/admin/") for name in there_are)


def test_templates__are_all_documented() -> None:
    folder = PACKAGE / "templates"
    there_are = {str(path.relative_to(folder)) for path in folder.rglob("*.html")}

    assert names_in_api(r"dsud/.*") == there_are


def test_template_tags__are_all_documented() -> None:
    libraries = template_engines["django"].engine.template_libraries
    library: template.Library = libraries["dsud"]

    tags = names_in_api(r".*", below="Template tags")
    assert tags == {*library.tags, *library.filters}


# The pages themselves


def test_readme__is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links__lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    files = [target.partition("#")[0] for target in targets if "://" not in target]

    assert [file for file in files if file and not (page.parent / file).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_words__are_those_of_the_project(page: Path) -> None:
    text = re.sub("django-tenants|dj-lite-tenant", "", prose_of(page))

    assert re.findall(r"(?i)\b(?:tenant|shard|helper|utils?|handler)\w*", text) == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_sentences__have_a_line_of_their_own(page: Path) -> None:
    lines = [line for line in prose_of(page).splitlines() if not line.startswith("|")]

    assert [line for line in lines if re.search(r"[a-z)`*][.?!] [A-Z`*\[]", line)] == []
