"""Code in steps: each inside the block, the code that iterates never, whatever happens in between."""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsud.stepwise import aeach_inside, each_inside, run_inside


class Stop(Exception):
    """What tests throw into generators."""


class Depth:
    """A block that may be entered many times, and counts how deep it is entered now."""

    def __init__(self) -> None:
        self.now = 0
        self.entered = 0

    def __enter__(self) -> None:
        self.now += 1
        self.entered += 1

    def __exit__(self, *raised: object) -> None:
        self.now -= 1


@pytest.fixture
def depth() -> Depth:
    return Depth()


def wrapped(depth: Depth) -> Callable[[Callable], Callable]:
    return lambda function: run_inside(function, depth, depth)


# Functions


def test_function__runs_inside_and_keeps_its_name(depth: Depth) -> None:
    @wrapped(depth)
    def add(one: int, *, two: int) -> tuple[int, int]:
        """Add."""
        return one + two, depth.now

    assert add(1, two=2) == (3, 1)
    assert (add.__name__, add.__doc__, depth.now) == ("add", "Add.", 0)


def test_function__that_raises_leaves_the_block(depth: Depth) -> None:
    @wrapped(depth)
    def fail() -> None:
        raise Stop(depth.now)

    with pytest.raises(Stop, match="1"):
        fail()
    assert depth.now == 0


def test_coroutine__runs_inside_when_it_is_awaited(depth: Depth) -> None:
    @wrapped(depth)
    async def answer() -> int:
        await asyncio.sleep(0)
        return depth.now

    assert inspect.iscoroutinefunction(answer)
    coroutine = answer()
    assert depth.entered == 0
    assert asyncio.run(coroutine) == 1
    assert depth.now == 0


# Generators


def test_generator__is_outside_between_its_steps(depth: Depth) -> None:
    @wrapped(depth)
    def count() -> Iterator[int]:
        yield depth.now
        yield depth.now

    assert inspect.isgeneratorfunction(count)
    seen = [(inside, depth.now) for inside in count()]
    assert seen == [(1, 0), (1, 0)]
    assert depth.now == 0


def echo(log: list[object]) -> Iterator[object]:
    """Take what is sent and thrown, and say what was seen."""
    try:
        for number in range(4):
            try:
                log.append((yield number))
            except Stop as stop:
                log.append(str(stop))
    finally:
        log.append("closed")
    return "done"


STEPS = st.lists(st.sampled_from(["next", "send", "throw", "fail", "close"]), max_size=8)


def drive(generator: Iterator[object], steps: list[str]) -> list[object]:
    """Do the steps and return what each one gives or raises."""
    does: dict[str, Callable[[], object]] = {
        "next": lambda: next(generator),
        "send": lambda: generator.send("sent"),
        "throw": lambda: generator.throw(Stop("thrown")),
        "fail": lambda: generator.throw(ZeroDivisionError("failed")),
        "close": lambda: generator.close() and None,
    }
    seen: list[object] = []
    for step in steps:
        try:
            seen.append(does[step]())
        except (Stop, StopIteration, ZeroDivisionError, TypeError) as error:
            seen.append((type(error), str(error)))
    return seen


@given(STEPS)
def test_generator__takes_and_gives_what_it_does_without_the_block(steps: list[str]) -> None:
    depth = Depth()
    plain_log: list[object] = []
    log: list[object] = []
    inside = run_inside(echo, depth, depth)
    assert drive(inside(log), steps) == drive(echo(plain_log), steps)
    gc.collect()
    assert log == plain_log
    assert depth.now == 0


def test_generator__cleans_up_inside(depth: Depth) -> None:
    seen = []

    @wrapped(depth)
    def suspended() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(depth.now)

    generator = suspended()
    next(generator)
    generator.close()
    assert seen == [1]

    generator = suspended()
    next(generator)
    del generator
    gc.collect()
    assert (seen, depth.now) == ([1, 1], 0)


def test_generator__that_never_began_is_closed_without_a_sound(depth: Depth) -> None:
    @wrapped(depth)
    def never() -> Iterator[int]:
        raise AssertionError
        yield

    never().close()
    assert depth.entered == 0


def test_async_generator__takes_sends_throws_and_closes_inside(depth: Depth) -> None:
    log: list[object] = []

    @wrapped(depth)
    async def echo_async() -> AsyncIterator[int]:
        try:
            for _ in range(9):
                await asyncio.sleep(0)
                try:
                    log.append((yield depth.now))
                except Stop as stop:
                    log.append((str(stop), depth.now))
        finally:
            await asyncio.sleep(0)
            log.append(("closed", depth.now))

    async def use() -> None:
        generator = echo_async()
        log.append(await anext(generator))
        log.append(await generator.asend("sent"))
        log.append(await generator.athrow(Stop("thrown")))
        assert depth.now == 0
        await generator.aclose()
        log.append([inside async for inside in echo_async()])

    assert inspect.isasyncgenfunction(echo_async)
    asyncio.run(use())
    assert log[:6] == [1, "sent", 1, ("thrown", 1), 1, ("closed", 1)]
    assert log[-1] == [1] * 9
    assert depth.now == 0


def test_async_generator__that_is_cancelled_leaves_the_block(depth: Depth) -> None:
    seen = []

    @wrapped(depth)
    async def slow() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            seen.append(depth.now)

    async def use() -> None:
        async def read() -> None:
            async for _ in slow():
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(use())
    assert (seen, depth.now) == ([1], 0)


# Iteration


class Items:
    """An iterable that notes at what depth it is asked and closed."""

    def __init__(self, depth: Depth, *, count: int) -> None:
        self.depth = depth
        self.count = count
        self.closed: list[int] = []

    def __iter__(self) -> "Items":
        assert self.depth.now == 1
        return self

    def __next__(self) -> int:
        if not self.count:
            raise StopIteration
        self.count -= 1
        return self.depth.now

    def close(self) -> None:
        self.closed.append(self.depth.now)


def test_each__asks_and_closes_inside(depth: Depth) -> None:
    items = Items(depth, count=3)
    assert [(item, depth.now) for item in each_inside(depth, items)] == [(1, 0)] * 3
    assert items.closed == [1]


def test_each__partly_consumed_is_closed_inside(depth: Depth) -> None:
    items = Items(depth, count=3)
    iterator = each_inside(depth, items)
    next(iterator)
    iterator.close()
    assert items.closed == [1]
    assert depth.now == 0


def test_each__never_consumed_asks_nothing(depth: Depth) -> None:
    items = Items(depth, count=3)
    each_inside(depth, items).close()
    assert (items.closed, depth.entered) == ([], 0)


def test_each__takes_what_cannot_be_closed(depth: Depth) -> None:
    assert list(each_inside(depth, [1, 2])) == [1, 2]


def test_each__failure_in_the_middle_leaves_the_block(depth: Depth) -> None:
    def fails() -> Iterator[int]:
        yield depth.now
        raise Stop(depth.now)

    iterator = each_inside(depth, fails())
    assert next(iterator) == 1
    with pytest.raises(Stop, match="1"):
        next(iterator)
    assert depth.now == 0


def test_aeach__asks_and_closes_inside(depth: Depth) -> None:
    closed = []

    @contextmanager
    def noting() -> Iterator[None]:
        try:
            yield
        finally:
            closed.append(depth.now)

    async def items() -> AsyncIterator[int]:
        with noting():
            yield depth.now
            await asyncio.sleep(0)
            yield depth.now

    async def use() -> None:
        assert [(item, depth.now) async for item in aeach_inside(depth, items())] == [(1, 0)] * 2
        half = aeach_inside(depth, items())
        assert await anext(half) == 1
        await half.aclose()
        await aeach_inside(depth, items()).aclose()

    asyncio.run(use())
    assert (closed, depth.now) == ([1, 1], 0)
