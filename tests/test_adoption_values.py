"""Rows are summed up to the same checksum in whatever order they come, and to another if any value differs."""

import random

import pytest

from dsud.adoption import values
from dsud.adoption.values import FEW, NOTHING, Checksum, Content, Row


def summed(rows: list[Row], *, size: int = 500) -> Content:
    checksum = Checksum()
    for begin in range(0, len(rows), size):
        checksum.add(rows[begin : begin + size])
    return checksum.content()


@pytest.mark.parametrize("count", [1, 2, FEW - 1, FEW, FEW + 1, 3 * FEW + 7])
def test_checksum__is_of_no_order_and_no_size_of_batches(count: int) -> None:
    rows: list[Row] = [(number, f"text {number}", None, number / 7) for number in range(count)]
    expected = summed(rows)
    assert expected.rows == count
    assert len(expected.checksum) == 32
    random.Random(7).shuffle(rows)
    assert summed(rows) == summed(rows, size=1) == summed(rows, size=count) == expected


@pytest.mark.parametrize("count", [3, FEW + 1])
@pytest.mark.parametrize(
    ("value", "other"),
    [(1, 2), (1, 1.0), (1, "1"), ("a", b"a"), ("a", "A"), (None, ""), (0.0, -0.0), (1, True)],
)
def test_checksum__one_value_that_differs(count: int, value: object, other: object) -> None:
    rows: list[Row] = [(number, "x") for number in range(count)]
    assert summed([*rows, (7, value)]) != summed([*rows, (7, other)])


def test_checksum__rows_that_run_into_each_other() -> None:
    assert summed([("ab", "c")]) != summed([("a", "bc")])
    assert summed([("a",), ("b",)]) != summed([("a", "b")])
    assert summed([("a",), ("a",)]) != summed([("a",)])


def test_checksum__of_nothing() -> None:
    assert summed([]) == NOTHING
    checksum = Checksum()
    checksum.add([])
    assert checksum.content() == NOTHING


def test_checksum__keeps_few_rows_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "FEW", 10)
    checksum = Checksum()
    kept = []
    for number in range(50):
        checksum.add([(number,)])
        kept.append(len(checksum._few))
    assert max(kept) == 10
    assert kept[-1] == 0
