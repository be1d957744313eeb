"""Other people's packages work with their rows in user databases, none of their code touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.sites import Site

ROOT = Path(__file__).parents[1]
SITE = ROOT / "tests" / "packages"

#: What each module of the site drives, by the names under which it is installed.
PACKAGES = {
    "test_taggit": ("django-taggit",),
    "test_simple_history": ("django-simple-history",),
    "test_treebeard": ("django-treebeard",),
    "test_mptt": ("django-mptt",),
    "test_rest_framework": ("djangorestframework", "django-filter"),
    "test_import_export": ("django-import-export",),
    "test_together": (),
}

#: Two users with tags, folders and versions, whose rows are looked at again after each migration.
ROWS = """
from taggit.models import Tag, TaggedItem
from tests.packages.bookmarks.models import Bookmark
from tests.packages.folders.models import Folder
from tests.packages.journal.models import Entry
for name in ("alice", "bob"):
    user, is_new = User.objects.get_or_create(username=name)
    with use_user(user):
        if is_new:
            Bookmark.objects.create(owner=user, title=f"of {user}").tags.add("common", name)
            root = Folder.objects.create(owner=user, name="root")
            Folder.objects.create(owner=user, name="below", parent=root)
            Entry.objects.create(owner=user, text=name)
        print(
            Bookmark.objects.get(tags__name=name, owner__username=name),
            sorted(Tag.objects.values_list("pk", "name")),
            TaggedItem.objects.filter(content_type__model="bookmark").count(),
            [folder.level for folder in Folder.objects.all()],
            [version.text for version in Entry.history.all()],
        )
"""


def run(*arguments: str) -> tuple[int, str]:
    """Run tests of the site in a process of its own and return its status and what it prints."""
    command = [sys.executable, "-m", "pytest", "-c", str(SITE / "pytest.ini"), "--color=no"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", *arguments]
    if not metadata.entry_points(group="pytest11", name="dsud"):
        command += ["-p", "dsud.pytest_plugin"]  # Because dsud is not installed here.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "DSUD", "DJANGO"))
    }
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env=inherited
        | {
            "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


@pytest.mark.slow
def test_packages__are_used_by_two_users_who_never_meet() -> None:
    # All at once, because to make the site's databases takes longer than most of them.
    status, output = run("-rA", str(SITE))

    assert status == 0, output
    ended = re.findall(r"^PASSED (?:\S*/)?(\w+)\.py::", output, re.MULTILINE)
    assert {module: ended.count(module) > 10 for module in PACKAGES} == dict.fromkeys(
        PACKAGES, True
    )


@pytest.mark.slow
def test_migrations_of_packages__go_back_and_forth_on_both_sides(tmp_path: Path) -> None:
    site = Site(tmp_path, settings="tests.packages.settings")
    for command in (["migrate"], ["check"]):
        finished = site.manage(*command)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    before = site.run(ROWS)
    assert before.splitlines() == [
        f"of {name} [(1, 'common'), (2, '{name}')] 2 [0, 1] ['{name}']" for name in ("alice", "bob")
    ]
    earlier = "0004"  # The bookmarks need no later one.
    for command in (
        *(["migrate", "taggit", earlier], ["migrate_user_dbs", "taggit", earlier]),
        *(["migrate"], ["migrate_user_dbs"]),
    ):
        finished = site.manage(*command)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        if command[0] == "migrate_user_dbs":
            code = """
from django.db.migrations.recorder import MigrationRecorder
from dsud.opening import as_they_are
for key in sorted(User.objects.values_list("pk", flat=True)):
    with use_user(key), as_they_are():
        applied = MigrationRecorder(connections[f"user_{key}"]).applied_migrations()
    shared = MigrationRecorder(connections["default"]).applied_migrations()
    print(sorted(applied) == sorted(shared), max(name for app, name in applied if app == "taggit")[:4])
"""
            last = earlier if earlier in command else "0006"
            assert site.run(code).splitlines() == [f"True {last}"] * 2
    assert site.run(ROWS) == before


def test_every_module_of_the_site__is_run() -> None:
    assert {path.stem for path in SITE.glob("test_*.py")} == set(PACKAGES)


def test_site__knows_of_dsud_in_its_settings_only() -> None:
    marks = re.compile(r"\bdsud\b|use_user|NoActiveUser")
    code = [path for path in SITE.rglob("*.py") if path.parent != SITE]
    known = {path.parent.name for path in code if marks.search(path.read_text())}

    # The import sets the owner, which is not in the file, as the site would with one database.
    assert known == {"spending"}


def test_packages__are_pinned_and_installed_as_published() -> None:
    pins = (ROOT / "requirements" / "test.txt").read_text()
    for name in (each for names in PACKAGES.values() for each in names):
        assert f"{name}=={metadata.version(name)}\n" in pins
