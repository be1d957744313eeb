"""Rows in Apache Arrow's form; the only file that needs pyarrow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from dsud.fleet.reports import ReportFailed

#: Rows that are put together, and written as one group.
GROUP = 20_000


def to_table(
    names: list[str], lines: Iterable[Sequence[object]], *, schema: pa.Schema | None
) -> pa.Table:
    """Return all lines as one table."""
    batches = list(_batches(names, lines, schema))
    wanted = schema or (batches[0].schema if batches else _of_text(names))
    return pa.Table.from_batches(batches, schema=wanted)


def write_parquet(
    names: list[str],
    lines: Iterable[Sequence[object]],
    path: Path,
    *,
    schema: pa.Schema | None,
) -> int:
    """Write all lines to a file, group by group, and count them."""
    count = 0
    batches = _batches(names, lines, schema)
    batch = next(batches, None)
    wanted = schema or (_of_text(names) if batch is None else batch.schema)
    with parquet.ParquetWriter(path, wanted) as writer:
        while batch is not None:
            writer.write_batch(batch)
            count += batch.num_rows
            batch = next(batches, None)
    return count


def _of_text(names: list[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _batches(
    names: list[str], lines: Iterable[Sequence[object]], schema: pa.Schema | None
) -> Iterator[pa.RecordBatch]:
    left = iter(lines)
    failure: Exception | None = None
    while failure is None:
        group: list[Sequence[object]] = []
        try:
            group.extend(islice(left, GROUP))
        except Exception as error:  # noqa: BLE001, because it is raised again after the rows that came before
            failure = error
        if not group:
            break
        batch = _batch(names, group, schema)
        schema = batch.schema
        yield batch
    if failure is not None:
        raise failure


def _batch(
    names: list[str], group: list[Sequence[object]], schema: pa.Schema | None
) -> pa.RecordBatch:
    columns = zip(*group, strict=True)
    arrays = [
        _array(name, list(map(_plain, column)), None if schema is None else schema.field(name).type)
        for name, column in zip(names, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _array(name: str, values: list[object], kind: pa.DataType | None) -> pa.Array:
    try:
        array = pa.array(values, type=kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ReportFailed(
            f"The column {name!r} has values of several types: {error}."
            " Give schema=pyarrow.schema([...])."
        ) from error
    return array.cast(_roomy(array.type)) if kind is None else array


def _roomy(kind: pa.DataType) -> pa.DataType:
    """Return a type with room for what the first group has not shown yet."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_decimal(kind):
        return pa.decimal128(38, kind.scale)
    return kind


def _plain(value: object) -> object:
    """Return a value that Arrow has a type for."""
    if isinstance(value, uuid.UUID):
        return str(value)
    return json.dumps(value) if isinstance(value, (dict, list)) else value
