"""Who takes part in a benchmark of requests: name, settings, and what its process is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import postgresql
from benchmarks.contenders import Contender

VISITS, BARE = "benchmarks.visits", "benchmarks.bare_visits"

DSUD, PLAIN, POSTGRESQL, FLOOR = (
    "dsud",
    "plain Django, one SQLite",
    "plain Django, PostgreSQL",
    "bare sqlite3",
)
UNKEPT = "plain Django, one SQLite, CONN_MAX_AGE=0"


@dataclass(frozen=True, eq=False)
class Side:
    """One contender, before it is started."""

    name: str
    settings: str
    environment: Mapping[str, str] = field(default_factory=dict)
    work: str = VISITS
    python: str = sys.executable

    @property
    def directory(self) -> str:
        """Return a name for the directory of its files."""
        return "".join(each if each.isalnum() else "_" for each in self.name)

    def start(self, directory: Path) -> Contender:
        """Start its process."""
        return Contender(
            self.name,
            work=self.work,
            settings=self.settings,
            directory=directory / self.directory,
            python=self.python,
            environment=self.environment,
        )


def site(name: str, settings: str, **environment: str) -> Side:
    """Return a contender that is a site of ours."""
    return Side(name, f"benchmarks.diary.settings.{settings}", environment)


@contextmanager
def with_postgresql(directory: Path, absent: dict[str, str]) -> Iterator[list[Side]]:
    """Give plain Django with a PostgreSQL of its own, or note why there is none."""
    with ExitStack() as stack:
        own = directory / "postgresql"
        own.mkdir()
        try:
            port = stack.enter_context(postgresql.server(own, user="bench"))
        except postgresql.CannotStart as error:
            absent[POSTGRESQL] = str(error)
            yield []
        else:
            yield [site(POSTGRESQL, "postgresql", BENCH_POSTGRESQL_PORT=str(port))]
