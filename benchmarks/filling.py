"""Fills the site of the settings in a process of its own, as a deploy does, and says who may visit it.

A process that migrates is slower ever after: Python 3.13 looks up each attribute of a class anew once
that class was changed a thousand times, and Django changes ``Field`` with each field that it makes.
No process that serves has migrated before, so none that is measured should have.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.diary.people import Visitor


def fill(*, users: int, notes: int, singly: int | None = None) -> list[Visitor]:
    """Fill the site, by another process if that is possible; return its users as visitors.

    Of the notes of each user, so many are written singly, by a commit each.
    """
    from django.conf import settings

    from benchmarks.diary import people

    # Some peers learn of databases only by making them.
    is_stock = str(getattr(settings, "WAY", "")).endswith((".ours", ".together"))
    fills = _fill_elsewhere if is_stock else people.fill
    return fills(users=users, notes=notes, singly=people.SINGLY if singly is None else singly)


def _fill_elsewhere(*, users: int, notes: int, singly: int) -> list[Visitor]:
    """Fill the site by another process with the same settings."""
    command = [sys.executable, "-m", __name__, str(users), str(notes), str(singly)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    visitors: list[Visitor] = json.loads(done.stdout.splitlines()[-1])
    return visitors


def main() -> None:
    """Fill the site and write who may visit it."""
    import django

    django.setup()
    from benchmarks.diary import people

    users, notes, singly = map(int, sys.argv[1:])
    visitors = people.fill(users=users, notes=notes, singly=singly)
    sys.stdout.write(f"\n{json.dumps(visitors)}\n")


if __name__ == "__main__":
    main()
