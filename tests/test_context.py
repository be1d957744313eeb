"""Who is active: in blocks, functions, generators, tasks and threads, and never anywhere else."""

import asyncio
import gc
import inspect
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
import pytest_django
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, Group, User
from django.utils.functional import SimpleLazyObject

from dsud import current_user_id, use_user
from dsud.context import (
    AskedActivation,
    Block,
    active_alias,
    active_key,
    primary_key_field,
    user_key,
)
from dsud.exceptions import InvalidUserKey, NoActiveUser
from dsud.pool import pool
from tests.leasing import in_thread, people, write
from tests.notes.models import Note, Tag


class Stop(Exception):
    """What a test raises inside a block."""


# Keys


@pytest.mark.parametrize(
    ("given", "key"),
    [(7, "7"), ("7", "7"), ("007", "7"), (" 7 ", "7"), (0, "0"), (User(pk=7), "7")],
)
def test_user_key__is_the_primary_key_as_text(given: object, key: str) -> None:
    assert user_key(given) == key
    assert use_user(given).activation.key() == key


def test_user_key__of_a_lazy_user() -> None:
    assert user_key(SimpleLazyObject(lambda: User(pk=7))) == "7"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (User(), "it has no primary key; save the user first"),
        (AnonymousUser(), "it has no primary key; save the user first"),
        (None, "it has no primary key; save the user first"),
        (Group(pk=1), "it is no User"),
        (True, "a key is an integer, a string or a UUID"),
        (1.5, "a key is an integer, a string or a UUID"),
        (b"1", "a key is an integer, a string or a UUID"),
        ("alice", "it is no AutoField"),
        ("", "it is no AutoField"),
        ("../1", "it is no AutoField"),
        (uuid.UUID(int=1), "it is no AutoField"),
    ],
)
def test_user_key__refuses_what_is_no_user(given: object, message: str) -> None:
    with pytest.raises(InvalidUserKey) as raised:
        user_key(given)
    assert str(raised.value) == f"{given!r:.80} cannot name a user database: {message}."
    with pytest.raises(InvalidUserKey):
        use_user(given)


# Blocks


def test_nobody__is_active_outside_of_blocks() -> None:
    assert current_user_id() is None
    assert active_key() is None
    for use in (active_alias, Note.objects.count, Note(text="nowhere").save):
        with pytest.raises(NoActiveUser):
            use()


def test_block__nests_and_ends_with_whoever_was_active_before() -> None:
    with use_user(1):
        assert (current_user_id(), active_alias()) == (1, "user_1")
        with use_user(2):
            assert current_user_id() == 2
            with use_user(1):
                assert current_user_id() == 1
            assert current_user_id() == 2
        assert current_user_id() == 1
        with use_user(1):
            assert current_user_id() == 1
        assert current_user_id() == 1
    assert current_user_id() is None


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_block__ends_with_an_exception_at_any_depth(depth: int, error: type[BaseException]) -> None:
    def descend(level: int) -> None:
        with use_user(level):
            if level == depth:
                raise error
            try:
                descend(level + 1)
            finally:
                assert current_user_id() == level

    with pytest.raises(error):
        descend(1)
    assert current_user_id() is None


def test_block__may_be_entered_by_many_at_once() -> None:
    shared = use_user(1)
    together = threading.Barrier(4, timeout=10)

    def enter(number: int) -> list[object]:
        seen: list[object] = []
        for _ in range(50):
            with use_user(100 + number):
                with shared:
                    together.wait()
                    seen.append(current_user_id())
                seen.append(current_user_id())
            seen.append(current_user_id())
        return seen

    with ThreadPoolExecutor(4) as executor:
        for number, seen in enumerate(executor.map(enter, range(4))):
            assert seen == [1, 100 + number, None] * 50


def test_block__may_be_entered_again_inside_itself() -> None:
    block = use_user(1)
    with block, use_user(2), block:
        assert current_user_id() == 1
        with block:
            pass
        assert current_user_id() == 1
    assert current_user_id() is None


def test_blocks__may_be_left_in_any_order() -> None:
    def stay(user: int) -> Iterator[None]:
        with use_user(user):
            yield

    first, second, third = stay(1), stay(2), stay(3)
    for generator in (first, second, third):
        next(generator)
    assert current_user_id() == 3
    second.close()
    assert current_user_id() == 3
    third.close()
    assert current_user_id() == 1
    first.close()
    assert current_user_id() is None


def test_block__left_in_another_context_changes_nothing_there() -> None:
    block = use_user(1)
    copy_context().run(block.__enter__)
    assert current_user_id() is None
    with use_user(2):
        block.__exit__(None, None, None)
        assert current_user_id() == 2
    assert current_user_id() is None


@pytest.mark.django_db(transaction=True)
def test_block__returns_connections_where_the_user_changes_and_at_the_outermost_end() -> None:
    alice, bob = people(2)
    assert pool.leased == 0
    with use_user(alice):
        Note.objects.count()
        with use_user(bob):
            Note.objects.count()
        assert pool.leased == 0
        Note.objects.count()
        with pytest.raises(Stop), use_user(alice):
            raise Stop
        assert pool.leased == 1
    assert pool.leased == 0


# Decorators


def test_decorator__on_every_kind_of_function() -> None:
    @use_user(1)
    def function(greeting: str) -> tuple[str, object]:
        """Greet."""
        return greeting, current_user_id()

    @use_user(2)
    async def coroutine() -> object:
        await asyncio.sleep(0)
        return current_user_id()

    @use_user(3)
    def generator() -> Iterator[object]:
        yield current_user_id()
        yield current_user_id()

    @use_user(4)
    async def async_generator() -> AsyncIterator[object]:
        yield current_user_id()
        await asyncio.sleep(0)
        yield current_user_id()

    async def collect() -> list[tuple[object, object]]:
        return [(inside, current_user_id()) async for inside in async_generator()]

    assert function("hello") == ("hello", 1)
    assert (function.__name__, function.__doc__) == ("function", "Greet.")
    assert inspect.iscoroutinefunction(coroutine)
    assert asyncio.run(coroutine()) == 2
    with use_user(9):
        assert [(inside, current_user_id()) for inside in generator()] == [(3, 9), (3, 9)]
        assert async_to_sync(collect)() == [(4, 9), (4, 9)]
    assert current_user_id() is None


def test_decorator__on_a_method_and_a_recursion() -> None:
    class Report:
        @use_user(1)
        def lines(self, depth: int) -> list[object]:
            with use_user(depth + 10):
                below = self.lines(depth - 1) if depth else []
            return [current_user_id(), *below]

    assert Report().lines(3) == [1, 1, 1, 1]
    assert current_user_id() is None


@pytest.mark.django_db(transaction=True)
def test_generator__that_is_forgotten_leaves_nobody_active_and_nothing_leased() -> None:
    alice, bob = people(2)
    seen = []

    @use_user(alice)
    def suspended() -> Iterator[int]:
        try:
            yield Note.objects.count()
            yield 0
        finally:
            seen.append((current_user_id(), Note.objects.get().text))

    generator = suspended()
    assert next(generator) == 1
    with use_user(bob):
        assert Note.objects.get().text == "person1"
        del generator
        gc.collect()
        assert Note.objects.get().text == "person1"
    assert seen == [(alice.pk, "person0")]
    assert (current_user_id(), pool.leased) == (None, 0)


@pytest.mark.django_db(transaction=True)
def test_generator__goes_on_reading_where_it_was() -> None:
    alice, bob = people(2)
    write(alice, "second")

    @use_user(alice)
    def rows() -> Iterator[str]:
        for note in Note.objects.order_by("pk").iterator(chunk_size=1):
            yield note.text

    seen = []
    for text in rows():
        seen.append(text)
        assert Note.objects.using(f"user_{bob.pk}").count() == 1
    assert seen == ["person0", "second"]
    assert pool.leased <= 1


# Tasks and threads


def test_tasks__have_each_their_own_user() -> None:
    seen: dict[int, set[object]] = {1: set(), 2: set(), 3: set()}

    async def act(user: int) -> None:
        async with use_user(user):
            for _ in range(20):
                await asyncio.sleep(0)
                seen[user].add(current_user_id())
                seen[user].add(await sync_to_async(current_user_id)())
                seen[user].add(await asyncio.create_task(sync_to_async(current_user_id)()))

    async def all_at_once() -> None:
        await asyncio.gather(*map(act, seen))
        assert current_user_id() is None

    asyncio.run(all_at_once())
    assert seen == {1: {1}, 2: {2}, 3: {3}}


def test_task__outlives_the_block_it_was_started_in() -> None:
    async def late(ended: asyncio.Event) -> object:
        await ended.wait()
        return current_user_id()

    async def use() -> tuple[object, object]:
        ended = asyncio.Event()
        async with use_user(1):
            task = asyncio.create_task(late(ended))
        ended.set()
        return current_user_id(), await task

    assert asyncio.run(use()) == (None, 1)


def test_plain_thread__starts_with_nobody() -> None:
    with use_user(1):
        assert in_thread(current_user_id) is None


@pytest.mark.parametrize("thread_sensitive", [True, False])
def test_sync_to_async__acts_as_the_user_and_leaves_nothing_behind(
    *, thread_sensitive: bool
) -> None:
    read = sync_to_async(current_user_id, thread_sensitive=thread_sensitive)

    async def use() -> list[object]:
        async with use_user(1):
            inside = await read()
        return [inside, await read(), current_user_id()]

    assert asyncio.run(use()) == [1, None, None]


# Activations


class _Asked(AskedActivation):
    def __init__(self, find: Callable[[], str | None]) -> None:
        super().__init__()
        self._find = find

    def key(self) -> str | None:
        return self._find()


def test_activation__asks_each_time_who_it_is() -> None:
    answers = iter(["1", "1", None, "2"])
    with Block(_Asked(lambda: next(answers))):
        assert [active_key() for _ in range(4)] == ["1", "1", None, "2"]


def test_activation__alias_is_that_of_one_answer() -> None:
    """Two threads of one request ask at once while a view logs somebody else in."""
    answers: list[Callable[[], str]] = []

    def find() -> str:
        return answers.pop()()

    activation = _Asked(find)

    def second_asks_meanwhile() -> str:
        answers.append(lambda: "2")
        assert activation.alias() == "user_2"
        return "1"

    answers.append(second_asks_meanwhile)
    assert activation.alias() == "user_1"


def test_activation__that_nobody_answers_is_nobody() -> None:
    with Block(_Asked(lambda: None)):
        assert current_user_id() is None
        with pytest.raises(NoActiveUser) as raised:
            Note.objects.count()
    assert str(raised.value) == (
        "No user is active, so there is no user database to reach. Log in, or wrap the code"
        " in `with dsud.use_user(user):`."
    )


# Functions that only begin something


async def _who() -> str | None:
    return active_key()


class _Callable:
    async def __call__(self) -> str | None:
        return active_key()


def _each() -> Iterator[str | None]:
    yield active_key()


async def _aeach() -> AsyncIterator[str | None]:
    yield active_key()


def _beginning(function: Callable[[], object]) -> Callable[[], object]:
    def begin() -> object:
        return function()

    return begin


BEGUN: dict[str, Callable[[], object]] = {
    "object that is called": _Callable(),
    "function": _beginning(_who),
    "generator": _beginning(_each),
    "asynchronous generator": _beginning(_aeach),
}


@pytest.mark.parametrize("name", BEGUN)
def test_decorator__what_a_function_has_begun_runs_as_the_user(name: str) -> None:
    as_alice = use_user(1)(BEGUN[name])

    async def meanwhile_as_bob() -> object:
        async with use_user(2):
            begun = as_alice()
            if isinstance(begun, Iterator):
                found = next(begun)
            elif isinstance(begun, AsyncIterator):
                found = await anext(begun)
            else:
                found = await begun  # type: ignore[misc]
            assert active_key() == "2"
        return found

    assert asyncio.run(meanwhile_as_bob()) == "1"


def test_primary_key_field__is_that_of_the_user_model_in_the_settings(
    settings: pytest_django.Settings,
) -> None:
    before = primary_key_field()
    settings.AUTH_USER_MODEL = "notes.Tag"
    assert primary_key_field() is Tag._meta.pk
    settings.AUTH_USER_MODEL = "auth.User"
    assert primary_key_field() is before is User._meta.pk
