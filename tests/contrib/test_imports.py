"""Each bridge needs only what it leads to, and says so when that is missing."""

import importlib
import sys

import pytest


def test_tasks__say_what_they_need_without_django_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dsud.contrib.tasks", raising=False)
    monkeypatch.setitem(sys.modules, "django.tasks", None)

    with pytest.raises(ImportError) as raised:
        importlib.import_module("dsud.contrib.tasks")

    assert str(raised.value) == (
        "dsud.contrib.tasks needs django.tasks, which came with Django 6.0."
        " Upgrade Django, or use dsud.contrib.celery."
    )
