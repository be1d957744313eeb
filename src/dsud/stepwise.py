"""Code that runs in steps, each step inside a block: functions of every kind, and streamed bodies."""

from __future__ import annotations

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeAlias, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: A context manager that may be entered many times, one after the other.
Reentrant: TypeAlias = AbstractContextManager[None]


def run_inside(function: Callable[P, R], whole: Reentrant, step: Reentrant) -> Callable[P, R]:
    """Return the function as it runs inside a block.

    Generators run each step inside ``step`` and close inside ``whole``, because between two
    steps the block must not be current in the code that iterates.
    """
    wrapped: Callable[P, object]
    if inspect.isasyncgenfunction(function):
        wrapped = _async_generator_inside(function, whole, step)
    elif inspect.isgeneratorfunction(function):
        wrapped = _generator_inside(function, whole, step)
    elif inspect.iscoroutinefunction(function):
        wrapped = _coroutine_inside(function, whole)
    else:
        wrapped = _function_inside(function, whole, step)
    return cast("Callable[P, R]", functools.wraps(function)(wrapped))


def _function_inside(
    function: Callable[P, R], whole: Reentrant, step: Reentrant
) -> Callable[P, object]:
    def inside(*args: P.args, **kwargs: P.kwargs) -> object:
        with whole:
            result = function(*args, **kwargs)
        return _rest_inside(result, whole, step)

    return inside


def _rest_inside(result: object, whole: Reentrant, step: Reentrant) -> object:
    """Run inside a block what a function has begun only: nothing tells from outside that it does.

    Such are a lambda, or an object that is called, around an asynchronous function.
    """
    again: Callable[[], object] = lambda: result  # noqa: E731
    if inspect.iscoroutine(result):
        again = _coroutine_inside(cast("Callable[[], Awaitable[object]]", again), whole)
    elif inspect.isgenerator(result):
        begun = cast("Callable[[], Generator[object, object, object]]", again)
        again = _generator_inside(begun, whole, step)
    elif inspect.isasyncgen(result):
        abegun = cast("Callable[[], AsyncGenerator[object, object]]", again)
        again = _async_generator_inside(abegun, whole, step)
    return again()


def _coroutine_inside(
    function: Callable[P, Awaitable[R]], whole: Reentrant
) -> Callable[P, Awaitable[R]]:
    async def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with whole:
            return await function(*args, **kwargs)

    return inside


def _generator_inside(
    function: Callable[P, Generator[T, object, R]], whole: Reentrant, step: Reentrant
) -> Callable[P, Generator[T, object, R]]:
    def inside(*args: P.args, **kwargs: P.kwargs) -> Generator[T, object, R]:
        generator = function(*args, **kwargs)
        advance: Callable[[], T] = lambda: next(generator)  # noqa: E731
        try:
            while True:
                with step:
                    try:
                        item = advance()
                    except StopIteration as stop:
                        return cast("R", stop.value)
                try:
                    sent = yield item
                except Exception as error:  # noqa: BLE001, because the generator decides
                    advance = functools.partial(generator.throw, error)
                else:
                    advance = functools.partial(generator.send, sent)
        finally:
            with whole:
                generator.close()

    return inside


def _async_generator_inside(
    function: Callable[P, AsyncGenerator[T, object]], whole: Reentrant, step: Reentrant
) -> Callable[P, AsyncGenerator[T, object]]:
    async def inside(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, object]:
        generator = function(*args, **kwargs)
        advance: Callable[[], Awaitable[T]] = lambda: anext(generator)  # noqa: E731
        try:
            while True:
                with step:
                    try:
                        item = await advance()
                    except StopAsyncIteration:
                        return
                try:
                    sent = yield item
                except Exception as error:  # noqa: BLE001, because the generator decides
                    advance = functools.partial(generator.athrow, error)
                else:
                    advance = functools.partial(generator.asend, sent)
        finally:
            with whole:
                await generator.aclose()

    return inside


def each_inside(step: Reentrant, items: Iterable[T]) -> Iterator[T]:
    """Iterate with each step, and the closing, inside ``step``."""
    with step:
        iterator = iter(items)
    try:
        while True:
            with step:
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
    finally:
        with step:
            if (close := getattr(iterator, "close", None)) is not None:
                close()


async def aeach_inside(step: Reentrant, items: AsyncIterable[T]) -> AsyncIterator[T]:
    """Iterate asynchronously with each step, and the closing, inside ``step``."""
    with step:
        iterator = aiter(items)
    try:
        while True:
            with step:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    return
            yield item
    finally:
        with step:
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()
