"""The first thing that a process does which starts afresh: set Django up, then what it was started for."""

from __future__ import annotations

import django
from django.utils.module_loading import import_string


def run(path: str, *arguments: object) -> None:
    """Call what a dotted path names, with Django's apps loaded.

    Nothing that needs them may be imported before, so this module imports nothing of the package.
    """
    django.setup()
    import_string(path)(*arguments)
