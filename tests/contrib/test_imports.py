"""Each bridge needs only what it leads to, and says so when that is missing."""

import importlib
import json
import sys

import django
import pytest

from tests.sites import Site

#: What each bridge leads to; None where Django alone is enough.
BRIDGES = {
    "cache": None,
    "celery": "celery",
    "channels": "channels",
    "log": None,
    "storage": None,
    "tasks": "django.tasks",
}


def test_tasks__say_what_they_need_without_django_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dsud.contrib.tasks", raising=False)
    monkeypatch.setitem(sys.modules, "django.tasks", None)

    with pytest.raises(ImportError) as raised:
        importlib.import_module("dsud.contrib.tasks")

    assert str(raised.value) == (
        "dsud.contrib.tasks needs django.tasks, which came with Django 6.0."
        " Upgrade Django, or use dsud.contrib.celery."
    )


def test_bridges__need_nothing_that_leads_elsewhere(site: Site) -> None:
    bridges = {name for name in BRIDGES if name != "tasks" or django.VERSION >= (6, 0)}
    printed = site.run(
        """
import importlib, json
bridges, missing = json.loads(sys.argv[1])
for bridge in bridges:
    package = missing.pop(bridge)
    hidden = {other: sys.modules.pop(other, None) for other in missing.values() if other}
    sys.modules.update(dict.fromkeys(hidden))
    importlib.import_module("dsud.contrib." + bridge)
    for other in hidden:
        del sys.modules[other]
    missing[bridge] = package
    print(bridge)
""",
        json.dumps([sorted(bridges), BRIDGES]),
    )

    assert printed.split() == sorted(bridges)


def test_celery__discovers_no_tasks_in_bridges(site: Site) -> None:
    printed = site.run("""
from celery import Celery
app = Celery("tests")
app.autodiscover_tasks(force=True)
print([name for name in app.tasks if not name.startswith("celery.")])
print([name for name in sys.modules if name.startswith("dsud.contrib")])
""")

    assert printed.splitlines() == ["[]", "[]"]
