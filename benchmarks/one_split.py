"""Splits a generated site, and copies the same rows by bare SQL, user by user in turn; prints seconds."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

import django

django.setup()

from django.conf import settings  # noqa: E402, because Django is set up before
from django.db import connections  # noqa: E402

from dsud import provisioning  # noqa: E402
from dsud.adoption.media import source_storage  # noqa: E402
from dsud.adoption.plan import Plan, make_plan, refuse_crossing_links  # noqa: E402
from dsud.adoption.split import splitting  # noqa: E402
from dsud.adoption.statements import insertion, spelt, statements  # noqa: E402
from dsud.engines import engine  # noqa: E402
from dsud.engines.sqlite import image  # noqa: E402


class Bare:
    """What anybody would do by hand: attach a database, insert what is selected, commit, detach."""

    def __init__(self, plan: Plan, template: bytes) -> None:
        self._template = template
        self._directory = Path(settings.BASE_DIR) / "bare"
        self._directory.mkdir()
        source = settings.DATABASES["default"]["NAME"]
        self._raw = sqlite3.connect(f"file:{source}?mode=ro", uri=True, isolation_level=None)
        self._statements = statements(plan)
        default = connections["default"]
        self._begin = [insertion(each, default, schema="target.") for each in self._statements]

    def database(self, name: str) -> Path:
        """Make an empty database; no clock runs then."""
        path = self._directory / f"{name}.sqlite3"
        path.write_bytes(image.clone(self._template, name))
        return path

    def copy(self, path: Path, owner: object) -> None:
        """Copy an owner's rows."""
        selects = [
            (each.sql % tuple("?" for _ in each.params), each.params_for(spelt(owner)))
            for each in self._statements
        ]
        self._run(path, selects)

    def copy_all(self, path: Path) -> None:
        """Copy everybody's rows into one file."""
        selects: list[tuple[str, list[str]]] = [
            (f"SELECT {', '.join(each.columns)} FROM {each.name}", [])  # noqa: S608
            for each in self._statements
        ]
        self._run(path, selects)

    def _run(self, path: Path, selects: list[tuple[str, list[str]]]) -> None:
        self._raw.execute("ATTACH ? AS target", [f"file:{path}?mode=rw"])
        self._raw.execute("PRAGMA target.synchronous = NORMAL")
        self._raw.execute("BEGIN")
        for begin, (select, params) in zip(self._begin, selects, strict=True):
            self._raw.execute(f"{begin} {select}", params)
        self._raw.execute("COMMIT")
        self._raw.execute("DETACH target")

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


def seconds(function: Callable[..., object], *arguments: object) -> float:
    """Return how long a call takes."""
    begun = perf_counter()
    function(*arguments)
    return perf_counter() - begun


def main() -> None:
    """Split the site of the settings; bare copies go to a directory beside it."""
    provisioning.initialize_location("1")
    built = seconds(provisioning.prepare)
    template = engine()._templates.read(provisioning.prepare())  # type: ignore[attr-defined]
    begun = perf_counter()
    plan = make_plan(given={}, copied=["workshop.Word"])
    refuse_crossing_links(plan, plan.owners)
    planned = perf_counter() - begun
    with closing(Bare(plan, template)) as bare:
        users, once = both(plan, bare)
        together = seconds(bare.copy_all, bare.database("all"))
    rows = sum(table.rows for table in plan.tables)
    found = {"rows": rows, "built": built, "planned": planned, "once": once}
    sys.stdout.write(json.dumps({**found, "users": users, "together": together}))


def both(plan: Plan, bare: Bare) -> tuple[list[tuple[float, float]], float]:
    """Copy and move user by user; return how long each took, and what a split takes before and after."""
    running = ExitStack()
    begun = perf_counter()
    split = running.enter_context(splitting(plan, files_from=source_storage(None)))
    once = perf_counter() - begun
    users = [
        (seconds(bare.copy, bare.database(key), owner), seconds(split.move, key))
        for key, owner in plan.owners.items()
    ]
    return users, once + seconds(running.close)


if __name__ == "__main__":
    main()
