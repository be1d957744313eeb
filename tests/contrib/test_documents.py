"""The page about work in the background is true, with a broker in memory, on what Django has."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from tests.documents import DOCS, Block, Project, blocks_of, follow
from tests.servers import EXAMPLE

PAGE = DOCS / "howto" / "background-work.md"

PEOPLE = """
from django.contrib.auth.models import User
from dsud import use_user
from notes.models import Note
for name in ("alice", "bob"):
    with use_user(User.objects.create_user(name)):
        Note.objects.create(title=f"Written by {name}")
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a copy of the example with users, which sends to a broker in memory."""
    root = tmp_path / "project"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("data", "__pycache__"))
    project = Project(root)
    project.environment["CELERY_BROKER_URL"] = "memory://"
    project.run("python manage.py migrate --verbosity 0")
    project.run(f"python manage.py shell -v 0 -c '{PEOPLE}'")
    return project


def runnable() -> Iterator[Block]:
    """Yield the blocks of the page without those of sections that need what is not installed."""
    lines = PAGE.read_text().splitlines()
    for block in blocks_of(PAGE):
        section = [line for line in lines[: block.line] if line.startswith("##")][-1]
        if "task" in section.lower() and django.VERSION < (6, 0):
            continue
        if "stores tasks" in section and not importlib.util.find_spec("django_tasks_db"):
            continue
        yield block


@pytest.mark.slow
def test_page__does_what_it_says(project: Project) -> None:
    follow(project, list(runnable()), visit=lambda address: None, skipped=[])

    assert "no issues" in project.run("python manage.py check")


def test_page__is_left_out_nowhere_on_a_new_django() -> None:
    if django.VERSION < (6, 0) or not importlib.util.find_spec("django_tasks_db"):
        pytest.skip("django.tasks came with Django 6.0")
    assert list(runnable()) == list(blocks_of(PAGE))
