"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import django

from benchmarks import environments, postgresql


def describe() -> dict[str, str]:
    """Return machine and versions, without any name or address of the machine."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _line("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "django": django.get_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": _postgresql(),
        "peers": ", ".join(_peers()),
    }


def _postgresql() -> str:
    program = postgresql.program("postgres")
    if program is None:
        return "none"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[2]


def _peers() -> list[str]:
    """Return the pinned versions of the peers, which their environments have."""
    return [
        line.replace("==", " ")
        for path in sorted(environments.PINS.glob("*.txt"))
        for line in path.read_text().splitlines()
        if line.startswith(f"{path.stem}==")
    ]


def _line(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
