"""Contenders: the same work on different sites, each in a process that takes its turn when told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).parents[1]

#: Our own package, for contenders that use it; another of the same name may be installed elsewhere.
OURS = ROOT / "src"


class Failed(Exception):
    """Raised when a contender could not do what it was told; carries its traceback."""


class Contender:
    """A process with settings of its own, asked to call functions of one module, turn by turn."""

    def __init__(
        self,
        name: str,
        *,
        work: str,
        settings: str = "",
        directory: Path,
        python: str | Path = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        `work` is the dotted path of the module whose functions it calls; `settings` that of the
        site's settings, none for the floor; all its files lie in `directory`.
        """
        self.name = name
        directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.answering", work],
            cwd=ROOT,
            env=surroundings(settings, directory, ours=Path(python) == Path(sys.executable))
            | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, call: str, **arguments: object) -> Any:  # noqa: ANN401, because it is JSON
        """Let it call a function and return what that returns; raise `Failed` if it raised."""
        told, answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        told.write(json.dumps({"call": call, "arguments": arguments}) + "\n")
        told.flush()
        line = answers.readline()
        if not line:
            raise Failed(f"{self.name} ended with {self._process.wait()} in {call}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"{self.name} in {call}:\n{answer['error']}")
        return answer["found"]

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.communicate()


def surroundings(settings: str, directory: Path, *, ours: bool = True) -> dict[str, str]:
    """Return the environment variables of a contender's process, or of its server."""
    path = [str(ROOT), *([str(OURS)] if ours else [])]
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings,
        "BENCH_DIRECTORY": str(directory),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
