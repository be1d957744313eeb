"""Reports of rows of all users: comma-separated text here, Arrow and Parquet where pyarrow is."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from django.db.models import Model

from dsud.exceptions import DSUDError

if TYPE_CHECKING:
    import pyarrow as pa

#: The first column of every report.
USER = "user"


class ReportFailed(DSUDError):
    """Raised when rows cannot be put into the columns of a report."""


def to_csv(
    rows: Iterable[tuple[str, object]],
    target: str | Path | TextIO,
    *,
    columns: Sequence[str] | None = None,
) -> int:
    """Write what ``query`` yields as comma-separated text, with a line of names, and count the rows.

    The first column is the user's key. Rows of ``values_list()`` need ``columns``; those of
    ``values()`` and instances bring theirs. Failures are raised by ``query`` after the last row,
    so that all other rows are written by then.
    """
    count = 0
    with _opened(target) as file:
        writer = csv.writer(file)
        names, lines = as_table(rows, columns)
        if names:
            writer.writerow(names)
        for line in lines:
            writer.writerow(line)
            count += 1
    return count


@contextmanager
def _opened(target: str | Path | TextIO) -> Iterator[TextIO]:
    if isinstance(target, (str, Path)):
        with Path(target).open("w", newline="", encoding="utf-8") as file:
            yield file
    else:
        yield target


def to_arrow(
    rows: Iterable[tuple[str, object]],
    *,
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """Return what ``query`` yields as a ``pyarrow.Table``, which is in memory as a whole.

    Types are those of the first rows, unless ``schema`` says them. Needs the extra ``arrow``.
    """
    from dsud.fleet import arrow

    return arrow.to_table(*as_table(rows, columns), schema=schema)


def to_parquet(
    rows: Iterable[tuple[str, object]],
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
) -> int:
    """Write what ``query`` yields to a Parquet file, a group of rows at a time, and count the rows.

    Types are those of the first group, unless ``schema`` says them. Needs the extra ``arrow``.
    """
    from dsud.fleet import arrow

    return arrow.write_parquet(*as_table(rows, columns), Path(path), schema=schema)


def as_table(
    rows: Iterable[tuple[str, object]], columns: Sequence[str] | None
) -> tuple[list[str], Iterator[list[object]]]:
    """Return the names of the columns, and the lines, each with its user's key first."""
    found = iter(rows)
    first = next(found, None)
    if first is None:
        return ([USER, *columns] if columns else []), iter(())
    names = list(columns) if columns else _names_of(first[1])
    return [USER, *names], _lines(chain([first], found), names)


def _names_of(row: object) -> list[str]:
    if isinstance(row, dict):
        return [str(name) for name in row]
    if isinstance(row, Model):
        return [field.attname for field in row._meta.concrete_fields]
    if (names := getattr(row, "_fields", None)) is not None:
        return [str(name) for name in names]
    raise ReportFailed(
        f"Rows such as {row!r:.80} have no names for columns. Give columns=[...], or take"
        " values('...') in the place of values_list('...')."
    )


def _lines(rows: Iterable[tuple[str, object]], names: list[str]) -> Iterator[list[object]]:
    for key, row in rows:
        line = [key, *_values_of(row, names)]
        if len(line) != len(names) + 1:
            raise ReportFailed(
                f"A row of user {key!r} has {len(line) - 1} values and not {len(names)}:"
                f" {row!r:.80}. Ask all users for the same columns."
            )
        yield line


def _values_of(row: object, names: list[str]) -> list[object]:
    if isinstance(row, dict):
        return [row.get(name) for name in names]
    if isinstance(row, Model):
        return [getattr(row, name) for name in names]
    return list(row) if isinstance(row, (tuple, list)) else [row]
