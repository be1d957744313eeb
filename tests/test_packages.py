"""Other people's packages work with their rows in user databases, none of their code touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

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
}


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
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", PACKAGES)
def test_package__is_used_by_two_users_who_never_meet(module: str) -> None:
    status, output = run(str(SITE / f"{module}.py"))

    assert status == 0, output
    ended = re.search(r"^=+ (\d+) passed in ", output, re.MULTILINE)
    assert ended, output
    assert int(ended[1]) > 10


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
