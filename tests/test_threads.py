"""Threads and executors act for whoever was active where they were started, and for nobody else."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import RequestFactory

from dsud import current_user_id, use_user
from dsud.exceptions import NoActiveUser
from dsud.middleware import DatabaseSwitchMiddleware
from dsud.pool import pool
from dsud.threads import as_active_user
from tests.notes.models import Note

pytestmark = pytest.mark.django_db(transaction=True)


def texts() -> list[str]:
    return list(Note.objects.values_list("text", flat=True))


def write(text: str) -> list[str]:
    Note.objects.create(text=text)
    return texts()


def run_in_thread(function) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_thread__acts_for_whoever_was_active_when_it_was_made(alice: User, bob: User) -> None:
    with use_user(alice):
        thread = threading.Thread(target=as_active_user(write), args=["hers"])
    with use_user(bob):
        thread.start()
        thread.join()

    with use_user(alice):
        assert texts() == ["hers"]
    with use_user(bob):
        assert texts() == []


def test_executor__serves_two_users_in_one_thread(alice: User, bob: User) -> None:
    with ThreadPoolExecutor(max_workers=1) as executor:
        futures = []
        for user in (alice, bob, alice, bob):
            with use_user(user):
                futures.append(executor.submit(as_active_user(write), user.username))
        after = executor.submit(current_user_id)
        results = [future.result() for future in futures]

    assert results == [["alice"], ["bob"], ["alice"] * 2, ["bob"] * 2]
    assert after.result() is None


def test_executor__maps(alice: User) -> None:
    with use_user(alice), ThreadPoolExecutor(max_workers=2) as executor:
        list(executor.map(as_active_user(write), ["one", "two", "three"]))

        assert sorted(texts()) == ["one", "three", "two"]


def test_plain_function__finds_nobody_in_an_executor(alice: User) -> None:
    with use_user(alice), ThreadPoolExecutor(max_workers=1) as executor:
        future = executor.submit(texts)

    assert isinstance(future.exception(), NoActiveUser)


def test_nobody__is_refused_where_the_function_is_made() -> None:
    with pytest.raises(NoActiveUser) as raised:
        as_active_user(texts)

    assert str(raised.value) == (
        "No user is active, so there is no user database to reach. Log in, or wrap the code"
        " in `with dsud.use_user(user):`."
    )


def test_anonymous_request__is_refused(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = AnonymousUser()

    with pytest.raises(NoActiveUser):
        DatabaseSwitchMiddleware(lambda request: HttpResponse(as_active_user(texts)()))(request)


def test_request__is_resolved_before_the_thread_runs(
    alice: User, bob: User, rf: RequestFactory
) -> None:
    request = rf.get("/")
    request.user = alice
    made = []

    def view(request: HttpRequest) -> JsonResponse:
        made.append(as_active_user(write))
        request.user = bob
        return JsonResponse({"active": current_user_id()})

    response = DatabaseSwitchMiddleware(view)(request)

    assert response.content == b'{"active": %d}' % bob.pk
    run_in_thread(partial(made[0], "from her request"))
    with use_user(alice):
        assert texts() == ["from her request"]


def test_connections__are_returned_when_the_function_ends(alice: User) -> None:
    leased = []
    with use_user(alice):
        texts()
        function = as_active_user(lambda: (texts(), leased.append(pool.leased)))
        counting = as_active_user(partial(leased.append, "other work"))
    before = pool.leased
    with ThreadPoolExecutor(max_workers=1) as executor:
        executor.submit(function).result()
        after = pool.leased
        executor.submit(counting).result()

    assert (before, leased, after) == (0, [1, "other work"], 0)


def test_exception__leaves_nobody_active_behind(alice: User) -> None:
    def fail() -> None:
        raise LookupError(str(current_user_id()))

    with use_user(alice), ThreadPoolExecutor(max_workers=1) as executor:
        with pytest.raises(LookupError, match=f"^{alice.pk}$"):
            executor.submit(as_active_user(fail)).result()
        assert executor.submit(current_user_id).result() is None
        assert current_user_id() == alice.pk


def test_coroutine_function__runs_as_the_user_in_another_loop(alice: User) -> None:
    async def count() -> int:
        await Note.objects.acreate(text="awaited")
        return await Note.objects.acount()

    with use_user(alice):
        function = as_active_user(count)

    assert async_to_sync(function)() == 1


def test_run_in_executor__acts_for_the_user(alice: User) -> None:
    async def view() -> list[str]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1) as executor:
            return await loop.run_in_executor(executor, as_active_user(write), "from a loop")

    with use_user(alice):
        assert async_to_sync(view)() == ["from a loop"]


def test_generator__runs_each_step_as_the_user(alice: User) -> None:
    def lines():
        yield current_user_id()
        yield len(write("a line"))

    with use_user(alice):
        steps = as_active_user(lines)()

    assert [next(steps), current_user_id(), next(steps)] == [alice.pk, None, 1]
    steps.close()


def test_nested_call__keeps_the_callers_half_read_rows(alice: User) -> None:
    with use_user(alice):
        for text in ("one", "two", "three"):
            write(text)
        rows = Note.objects.order_by("pk").iterator(chunk_size=1)
        first = next(rows).text
        assert as_active_user(texts)() == ["one", "two", "three"]
        assert [first, *[note.text for note in rows]] == ["one", "two", "three"]
