"""Reports of rows of all users, in text and in Arrow's forms."""

import datetime as dt
import io
import subprocess
import sys
import uuid
from collections import namedtuple
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from dsud import fleet
from dsud.exceptions import FleetFailed
from dsud.fleet import arrow
from tests.leasing import people
from tests.notes.models import Note

Pair = namedtuple("Pair", ["one", "two"])


def failing_at_the_end(*rows: tuple[str, object]) -> Iterator[tuple[str, object]]:
    yield from rows
    raise FleetFailed({"3": ValueError("odd")})


ROWS = [("1", {"name": "a,b", "size": 1}), ("2", {"name": 'c"d', "size": None})]


# Text


@pytest.mark.parametrize(
    ("rows", "columns", "text"),
    [
        (ROWS, None, 'user,name,size\r\n1,"a,b",1\r\n2,"c""d",\r\n'),
        (ROWS, ["size"], "user,size\r\n1,1\r\n2,\r\n"),
        ([("1", Pair(1, 2))], None, "user,one,two\r\n1,1,2\r\n"),
        ([("1", (1, 2))], ["x", "y"], "user,x,y\r\n1,1,2\r\n"),
        ([("1", "flat")], ["text"], "user,text\r\n1,flat\r\n"),
        ([], ["text"], "user,text\r\n"),
        ([], None, ""),
    ],
)
def test_to_csv(rows: list[object], columns: list[str] | None, text: str) -> None:
    file = io.StringIO(newline="")
    assert fleet.to_csv(iter(rows), file, columns=columns) == len(rows)
    assert file.getvalue() == text


def test_to_csv__file_that_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "one.csv", str(tmp_path / "two.csv")):
        assert fleet.to_csv(ROWS, path) == 2
        assert Path(path).read_bytes() == b'user,name,size\r\n1,"a,b",1\r\n2,"c""d",\r\n'


def test_to_csv__each_row_is_written_before_the_next_is_taken() -> None:
    file = io.StringIO(newline="")
    written = []

    def rows() -> Iterator[tuple[str, object]]:
        for number in range(4):
            written.append(len(file.getvalue().splitlines()))
            yield str(number), {"number": number}

    assert fleet.to_csv(rows(), file) == 4
    # The head is written with the first row, whose columns it names.
    assert written == [0, 2, 3, 4]


def test_to_csv__rows_before_a_failure_are_written(tmp_path: Path) -> None:
    with pytest.raises(FleetFailed):
        fleet.to_csv(failing_at_the_end(*ROWS), tmp_path / "some.csv")
    assert len((tmp_path / "some.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (
            [("1", (1, 2))],
            None,
            (
                "Rows such as (1, 2) have no names for columns. Give columns=[...], or take"
                " values('...') in the place of values_list('...')."
            ),
        ),
        (
            [("1", (1, 2)), ("2", (1,))],
            ["x", "y"],
            ("A row of user '2' has 1 values and not 2: (1,). Ask all users for the same columns."),
        ),
    ],
)
def test_to_csv__rows_without_shape(
    rows: list[object], columns: list[str] | None, message: str
) -> None:
    with pytest.raises(fleet.ReportFailed) as caught:
        fleet.to_csv(rows, io.StringIO(), columns=columns)
    assert str(caught.value) == message


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("location")
def test_reports__of_what_query_yields(tmp_path: Path) -> None:
    alice, bob = people(2)
    file = io.StringIO(newline="")
    assert fleet.to_csv(fleet.query(lambda key: Note.objects.order_by("pk")), file) == 2
    assert file.getvalue() == (f"user,id,text\r\n{alice.pk},1,person0\r\n{bob.pk},1,person1\r\n")
    rows = fleet.query(lambda key: Note.objects.values("text"))
    assert fleet.to_arrow(rows).to_pylist() == [
        {"user": str(alice.pk), "text": "person0"},
        {"user": str(bob.pk), "text": "person1"},
    ]
    rows = fleet.query(lambda key: Note.objects.values_list("pk", "text", named=True))
    assert fleet.to_parquet(rows, tmp_path / "notes.parquet") == 2
    assert parquet.read_table(tmp_path / "notes.parquet").column_names == ["user", "pk", "text"]


# Arrow


EVERYTHING = {
    "text": "ä",
    "number": 5,
    "part": 0.5,
    "price": Decimal("1.50"),
    "day": dt.date(2026, 1, 2),
    "moment": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    "span": dt.timedelta(1, 2, 3),
    "is_odd": True,
    "data": b"\0\1",
    "code": uuid.UUID(int=7),
    "tree": {"a": [1, None]},
    "nothing": None,
}


def test_to_arrow__types() -> None:
    table = fleet.to_arrow([("1", EVERYTHING), ("2", dict.fromkeys(EVERYTHING))])
    assert {field.name: str(field.type) for field in table.schema} == {
        "user": "string",
        "text": "string",
        "number": "int64",
        "part": "double",
        "price": "decimal128(38, 2)",
        "day": "date32[day]",
        "moment": "timestamp[us, tz=UTC]",
        "span": "duration[us]",
        "is_odd": "bool",
        "data": "binary",
        "code": "string",
        "tree": "string",
        "nothing": "string",
    }
    first, second = table.to_pylist()
    assert first == {
        "user": "1",
        **EVERYTHING,
        "code": "00000000-0000-0000-0000-000000000007",
        "tree": '{"a": [1, null]}',
    }
    assert second == {"user": "2", **dict.fromkeys(EVERYTHING)}


def test_to_arrow__nothing() -> None:
    assert fleet.to_arrow([]).num_rows == 0
    assert fleet.to_arrow([], columns=["a"]).schema.names == ["user", "a"]


def test_to_parquet__group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "GROUP", 3)
    taken = 0

    def rows() -> Iterator[tuple[str, object]]:
        nonlocal taken
        for taken in range(8):
            yield str(taken), {"number": taken, "price": Decimal(10) ** taken}

    assert fleet.to_parquet(rows(), tmp_path / "x.parquet") == 8
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == 3
    assert file.read().column("number").to_pylist() == list(range(8))


def test_to_parquet__rows_before_a_failure_are_written(tmp_path: Path) -> None:
    with pytest.raises(FleetFailed):
        fleet.to_parquet(failing_at_the_end(*ROWS), tmp_path / "x.parquet")
    assert parquet.read_table(tmp_path / "x.parquet").num_rows == 2
    assert fleet.to_parquet([], tmp_path / "none.parquet", columns=["a"]) == 0
    assert parquet.read_table(tmp_path / "none.parquet").column_names == ["user", "a"]


def test_to_arrow__values_of_several_types() -> None:
    rows = [("1", {"size": 1}), ("2", {"size": "big"})]
    with pytest.raises(fleet.ReportFailed) as caught:
        fleet.to_arrow(rows)
    assert str(caught.value).startswith("The column 'size' has values of several types: ")
    assert str(caught.value).endswith(" Give schema=pyarrow.schema([...]).")
    schema = pa.schema([("user", pa.int64()), ("size", pa.float32())])
    table = fleet.to_arrow([(1, {"size": 1}), (2, {"size": 2.5})], schema=schema)
    assert table.schema == schema


def test_fleet__needs_no_pyarrow() -> None:
    code = (
        "import sys, django; django.setup(); import dsud.fleet; assert 'pyarrow' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": ":".join(sys.path)},
    )
