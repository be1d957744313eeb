"""What is replayed is what ``migrate`` does: over the histories of apps that everybody has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

#: What is installed, and the labels whose migrations are compared.
APPS = {
    "contrib": (
        "django.contrib.admin,django.contrib.flatpages,django.contrib.redirects,django.contrib.sites",
        "auth,admin,sessions,contenttypes,sites,flatpages,redirects",
    ),
    "taggit": ("taggit", "taggit"),
    "guardian": ("guardian", "guardian"),
    "oauth": ("oauth2_provider", "oauth2_provider"),
    "allauth": (
        "allauth,allauth.account,allauth.mfa,allauth.socialaccount,allauth.usersessions",
        "account,socialaccount,mfa,usersessions",
    ),
}


def compared(directory: Path, apps: str, *, jumps: int, rows: str) -> dict[str, int]:
    """Compare in a process of its own, because the apps must not be seen by other tests."""
    installed, labels = APPS[apps]
    code = [sys.executable, "-m", "tests.compare_histories", labels, str(jumps), rows]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.histories_settings",
        "DSUD_TEST_DIR": str(directory),
        "DSUD_TEST_APPS": installed,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    finished = subprocess.run(
        code, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    lines = [line.rpartition(": ") for line in finished.stdout.splitlines()]
    return {name: int(number) for name, _, number in lines}


def total(counts: dict[str, int], what: str) -> int:
    return sum(number for name, number in counts.items() if name.startswith(what))


@pytest.mark.parametrize(
    "apps", [pytest.param(each, marks=[pytest.mark.slow] * (each == "oauth")) for each in APPS]
)
def test_history__each_step_there_and_back(tmp_path: Path, apps: str) -> None:
    counts = compared(tmp_path, apps, jumps=1, rows="sound")
    assert total(counts, "forwards") == total(counts, "backwards") >= 3
    assert total(counts, "jumps") == 1
    # No step was too much for replay, or failed.
    assert {name.split(", ")[1] for name in counts} <= {"SQL", "SQL and code"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apps", "jumps"),
    [
        ("contrib", 40),
        ("taggit", 40),
        ("guardian", 40),
        pytest.param("oauth", 12, marks=pytest.mark.once),  # Because it takes seconds for each.
        pytest.param("allauth", 40, marks=pytest.mark.once),
    ],
)
def test_history__many_jumps_and_rows_that_break_keys(
    tmp_path: Path, apps: str, jumps: int
) -> None:
    counts = compared(tmp_path, apps, jumps=jumps, rows="violating")
    assert total(counts, "jumps") == jumps
    assert counts.get("violating, failed", 0) == total(counts, "violating")
    assert not any(name.endswith("Django") for name in counts)
