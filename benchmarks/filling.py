"""Fills the site of the settings in a process of its own, as a deploy does, and says whose sessions there are.

A process that migrates is slower ever after: Python 3.13 looks up each attribute of a class anew once
that class was changed a thousand times, and Django changes ``Field`` with each field that it makes.
No process that serves has migrated before, so none that is measured should have.
"""

from __future__ import annotations

import json
import subprocess
import sys


def fill_elsewhere(*, users: int, notes: int) -> list[str]:
    """Fill the site by another process with the same settings; return the keys of the sessions."""
    command = [sys.executable, "-m", __name__, str(users), str(notes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    sessions: list[str] = json.loads(done.stdout.splitlines()[-1])
    return sessions


def main() -> None:
    """Fill the site and write the keys."""
    import django

    django.setup()
    from benchmarks.diary import people

    sessions = people.fill(users=int(sys.argv[1]), notes=int(sys.argv[2]))
    sys.stdout.write(f"\n{json.dumps(sessions)}\n")


if __name__ == "__main__":
    main()
