"""Who takes part in a benchmark: which sites, in which environments, and who is left out and why."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import environments, postgresql
from benchmarks.contenders import Contender, surroundings

#: As many as there are threads in all benchmarks' servers, and some to spare.
_POSTGRESQL = {"max_connections": "200"}


@dataclass(frozen=True)
class Entrant:
    """Somebody who may take part: a site's settings, and what has to be installed for it."""

    #: As charts show it; ours begin with "dsud", and only ours.
    name: str
    settings: str
    #: Whose environment it runs in: a file of `requirements/peers`; none for this one.
    peer: str = ""
    #: The database on the server that it has for itself; none if it needs no server.
    database: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Site:
    """An entrant whose environment and server are there, with a directory of its own."""

    entrant: Entrant
    directory: Path
    python: Path
    #: What its processes have in their environment beside what all have.
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return the name that charts show."""
        return self.entrant.name

    def starts(self, work: str) -> Contender:
        """Start a process that does what it is told with the functions of a module."""
        return Contender(
            self.name,
            work=work,
            settings=self.entrant.settings,
            directory=self.directory,
            python=self.python,
            environment=self.environment,
        )

    def visits(self) -> Contender:
        """Start a process that visits it, or does the same without a site."""
        return self.starts(
            "benchmarks.visits" if self.entrant.settings else "benchmarks.bare_visits"
        )

    def told(self, **environment: str) -> Site:
        """Return the same site with more in its environment."""
        return replace(self, environment={**self.environment, **environment})

    def surroundings(self) -> dict[str, str]:
        """Return all environment variables of a server of it, such as gunicorn."""
        ours = not self.entrant.peer
        return surroundings(self.entrant.settings, self.directory, ours=ours) | {**self.environment}


_OF = "benchmarks.diary.settings."

OURS = Entrant("dsud", _OF + "ours")
SQLITE = Entrant("one SQLite database", _OF + "sqlite")
#: Django as it is if nobody says otherwise: it opens the database anew for every request.
UNKEPT = Entrant(
    "one SQLite database, CONN_MAX_AGE=0", _OF + "sqlite", environment={"BENCH_MAX_AGE": "0"}
)
#: A site of one user, who needs no column: what dsud itself calls for is the difference.
UNOWNED = Entrant("one SQLite database, nobody's rows", _OF + "unowned")
POSTGRESQL = Entrant("one PostgreSQL database", _OF + "postgresql", database="plain")
USER_DB = Entrant("django-sqlite-user-db 0.1.2", _OF + "user_db", peer="django-sqlite-user-db")
LITE = Entrant("dj-lite-tenant 0.2.0", _OF + "lite", peer="dj-lite-tenant")
LITE_TEMPLATE = Entrant(
    "dj-lite-tenant 0.2.0 with its template",
    _OF + "lite",
    peer="dj-lite-tenant",
    environment={"BENCH_TEMPLATE": "1"},
)
TENANTS = Entrant(
    "django-tenants 4.0.1", _OF + "tenants", peer="django-tenants", database="tenants"
)

#: The nearest peers, who answer requests; with the template, one of them only makes databases in
#: another way.
PEERS = (USER_DB, LITE, TENANTS)

#: Nobody's site, but the most that anybody could reach who gives each writer a file and uses Django's ORM.
ALONE = Entrant("Django's ORM, a file for each writer", _OF + "alone")

#: No site, but the same work without one.
FLOOR = Entrant("bare sqlite3", "")

#: Who answers requests.
EVERYBODY = (OURS, SQLITE, POSTGRESQL, *PEERS)

#: The field of a quick run; nobody in it needs anything installed, or a server.
AT_HAND = (OURS, SQLITE, UNOWNED, FLOOR)

#: What nobody can measure here, for `Report.absent` of benchmarks whose work it could do.
ELSEWHERE = {
    "Turso": "its databases for users are made and served by a service, which cannot be had here."
}


@contextmanager
def gather(
    entrants: Sequence[Entrant] = EVERYBODY,
    *,
    environment: Mapping[str, str] | None = None,
    quick: bool = False,
) -> Iterator[tuple[list[Site], dict[str, str]]]:
    """Give the sites of those who can take part, and why others cannot; a quick run asks few.

    All their files, the server's too, are gone after the block.
    """
    sites: list[Site] = []
    absent = {} if quick else {**ELSEWHERE}
    asked = [each for each in entrants if not quick or each in AT_HAND]
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dsud-bench-")))
        server = _Server(place / "postgresql", stack)
        for number, entrant in enumerate(asked):
            try:
                python, extra = _found(entrant, server)
            except (environments.CannotBeInstalled, postgresql.CannotStart) as error:
                absent[entrant.name] = str(error)
                continue
            extra = {**(environment or {}), **extra, **entrant.environment}
            sites.append(Site(entrant, place / f"site{number}", python, extra))
        yield sites, absent


def _found(entrant: Entrant, server: _Server) -> tuple[Path, dict[str, str]]:
    """Return the interpreter of an entrant, and how it reaches its database."""
    python = environments.python_of(entrant.peer) if entrant.peer else Path(sys.executable)
    return python, server.reached(entrant.database) if entrant.database else {}


class _Server:
    """One PostgreSQL for all who need one, started when the first does."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._port: int | None = None

    def reached(self, database: str) -> dict[str, str]:
        """Make a database and return the variables that name it."""
        if self._port is None:
            self._directory.mkdir(exist_ok=True)
            serving = postgresql.server(self._directory, user="bench", options=_POSTGRESQL)
            self._port = self._stack.enter_context(serving)
        self._make(database)
        return {"BENCH_POSTGRESQL_PORT": str(self._port), "BENCH_POSTGRESQL_NAME": database}

    def _make(self, database: str) -> None:
        createdb = postgresql.program("createdb")
        if createdb is None:
            raise postgresql.CannotStart("install its client programs (createdb).")
        where = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "bench"]
        subprocess.run([createdb, *where, database], check=True, capture_output=True)
