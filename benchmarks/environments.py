"""An environment of its own for each peer that another version of Django or a namesake would disturb."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What is installed where, by the name of the file in here.
PINS = ROOT / "requirements" / "peers"

KEPT = Path(os.environ.get("BENCH_ENVIRONMENTS", ROOT / ".venv-peers"))


class CannotBeInstalled(Exception):
    """Raised when a peer's environment cannot be made, with the end of what pip said."""


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment, which is made if need be; minutes at first."""
    pins = PINS / f"{peer}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    place = KEPT / f"{peer}-{digest}"
    python, made = place / "bin" / "python", place / "made"
    if not made.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(place))
        _run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins))
        _run(str(python), "-m", "pip", "check")
        made.touch()
    return python


def _run(*command: str) -> None:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise CannotBeInstalled((finished.stdout + finished.stderr)[-500:])
