"""Show user databases: state, schema, size and the last error of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import IO, cast

from django.db import DEFAULT_DB_ALIAS
from django.template.defaultfilters import filesizeformat
from django.utils.timezone import is_aware, localtime
from rich.console import Console
from rich.table import Table

from dsud import schema
from dsud.engines import engine
from dsud.management.fleet_command import FleetCommand
from dsud.models import UserDatabase

State = UserDatabase.State

COLUMNS = ("user", "state", "schema", "size", "migrated", "last_error")


class Command(FleetCommand):
    """``show_user_dbs``: what operators see of user databases."""

    help = "Shows user databases: state, schema, size and the last error."

    def handle(self, *args: object, **options: object) -> None:
        """Print a table, or JSON."""
        rows = list(describe(self.selected(options)))
        if options["as_json"]:
            self.write_json(rows)
            return
        table = Table()
        for name in COLUMNS:
            # Never shortened, because operators look for whole keys.
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            cells = {
                **row,
                "size": filesizeformat(str(row["size"])),
                "migrated": _date(row["migrated"]),
            }
            table.add_row(*(str(cells[name] or "") for name in COLUMNS))
        Console(file=cast("IO[str]", self.stdout), no_color=self.style.ERROR("") == "").print(table)
        total = filesizeformat(sum(int(str(row["size"])) for row in rows))
        self.stdout.write(f"{len(rows)} user databases, {total}.")


def describe(keys: list[str]) -> Iterator[dict[str, object]]:
    """Yield what is known of each user's database."""
    wanted = schema.fingerprint()
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS).in_bulk(keys, field_name="user_key")
    for key in keys:
        row = rows.get(key)
        in_place = engine().exists(key)
        exists = in_place or engine().staged_here(key) is not None
        yield {
            "user": key,
            "state": _state(row, exists=exists),
            "schema": "" if row is None else "current" if row.schema == wanted else "outdated",
            "size": engine().size(key) if in_place else 0,
            "migrated": None if row is None else row.migrated,
            "last_error": "" if row is None else row.last_error,
        }


def _date(moment: object) -> str:
    if not isinstance(moment, datetime):
        return ""
    return f"{localtime(moment) if is_aware(moment) else moment:%Y-%m-%d %H:%M}"


def _state(row: UserDatabase | None, *, exists: bool) -> str:
    if row is None:
        return "not registered" if exists else "none"
    if row.state == State.READY and not exists:
        return "missing"
    if row.state == State.PENDING and exists:
        return str(State.READY.value)
    return row.state
