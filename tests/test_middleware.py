"""The user of a request is active for as long as its response lasts, in every kind of view."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.contrib.auth import alogin, get_user_model, login, logout
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.base import BaseHandler
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_only_middleware
from django.utils.functional import SimpleLazyObject

from dsud import current_user_id, switch, use_user
from dsud.connections import release
from dsud.context import user_key
from dsud.engines import engine
from dsud.middleware import DatabaseSwitchMiddleware, UserOfRequest
from dsud.pool import pool
from tests.leasing import in_thread, people, texts, working_on
from tests.library.models import Book, Loan
from tests.notes.models import Note

BACKEND = "django.contrib.auth.backends.ModelBackend"


# Views


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Note.objects.order_by("pk").first().text)


async def aread(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await Note.objects.order_by("pk").afirst()).text)


def say(request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing was read")


async def asay(request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing was read")


def fail(request: HttpRequest) -> HttpResponse:
    Note.objects.create(text="before the failure")
    raise ZeroDivisionError


async def afail(request: HttpRequest) -> HttpResponse:
    await Note.objects.acreate(text="before the failure")
    raise ZeroDivisionError


def change_user(request: HttpRequest) -> HttpResponse:
    """Log in, read, log in as another, read, log out, and read once more."""
    seen = []
    for username in request.GET["users"].split(","):
        user = get_user_model().objects.get(username=username)
        login(request, user, BACKEND)
        seen.append(Note.objects.earliest("pk").text)
    if "out" in request.GET:
        logout(request)
        seen.append(Note.objects.earliest("pk").text)
    return JsonResponse(seen, safe=False)


async def achange_user(request: HttpRequest) -> HttpResponse:
    """Do the same asynchronously."""
    seen = []
    for username in request.GET["users"].split(","):
        user = await get_user_model().objects.aget(username=username)
        await alogin(request, user, BACKEND)
        seen.append((await Note.objects.aearliest("pk")).text)
    return JsonResponse(seen, safe=False)


def nested(request: HttpRequest) -> HttpResponse:
    """Become others and oneself at several depths, with failures on the way."""
    seen = [Note.objects.earliest("pk").text]
    other = int(request.GET["other"])
    try:
        with use_user(other):
            seen.append(Note.objects.earliest("pk").text)
            with use_user(request.user):
                seen.append(Note.objects.earliest("pk").text)
                raise ZeroDivisionError
    except ZeroDivisionError:
        seen.append(Note.objects.earliest("pk").text)
    return JsonResponse(seen, safe=False)


async def anested(request: HttpRequest) -> HttpResponse:
    """Do the same asynchronously."""
    seen = [(await Note.objects.aearliest("pk")).text]
    other = int(request.GET["other"])
    try:
        async with use_user(other):
            seen.append((await Note.objects.aearliest("pk")).text)
            async with use_user(await request.auser()):
                seen.append((await Note.objects.aearliest("pk")).text)
                raise ZeroDivisionError
    except ZeroDivisionError:
        seen.append((await Note.objects.aearliest("pk")).text)
    return JsonResponse(seen, safe=False)


def replaces_user(request: HttpRequest) -> HttpResponse:
    """Authenticate inside the view, as REST frameworks do."""
    request.user = get_user_model().objects.get(username=request.GET["username"])
    return read(request)


def stream(request: HttpRequest) -> HttpResponseBase:
    def body() -> Iterator[str]:
        try:
            for note in Note.objects.order_by("pk").iterator(chunk_size=1):
                yield note.text
                if "fail" in request.GET:
                    raise ZeroDivisionError
        finally:
            Note.objects.create(text=f"closed for {current_user_id()}")

    return StreamingHttpResponse(body())


async def astream(request: HttpRequest) -> HttpResponseBase:
    async def body() -> AsyncIterator[str]:
        try:
            async for note in Note.objects.order_by("pk").aiterator(chunk_size=1):
                yield note.text
                if "fail" in request.GET:
                    raise ZeroDivisionError
        finally:
            await Note.objects.acreate(text=f"closed for {current_user_id()}")

    return StreamingHttpResponse(body())


async def early(request: HttpRequest) -> HttpResponse:
    """Need the user in the event loop, before any query was made."""
    if "ask" in request.GET:
        await request.auser()
    if "login" in request.GET:
        user = await get_user_model().objects.aget(username=request.GET["login"])
        await alogin(request, user, BACKEND)
    loan = Loan(reader_id=current_user_id(), book=Book(pk=1))
    return JsonResponse([loan.reader_id, loan._state.db, current_user_id()], safe=False)


async def iterates(request: HttpRequest) -> HttpResponse:
    """Ask for rows one by one before anything else, and leave before the end."""
    async with aclosing(Note.objects.order_by("pk").aiterator(chunk_size=1)) as notes:
        async for note in notes:
            return HttpResponse(note.text)
    return HttpResponse("no notes")


def lazy(request: HttpRequest) -> HttpResponseBase:
    return TemplateResponse(request, "first_note.html", {"notes": Note.objects.order_by("pk")})


def send_file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(Path(__file__).open("rb"))


urlpatterns = [
    path(f"{view.__name__}/", view)
    for view in (
        read,
        aread,
        say,
        asay,
        fail,
        afail,
        change_user,
        achange_user,
        nested,
        anested,
        replaces_user,
        stream,
        astream,
        early,
        iterates,
        lazy,
        send_file,
    )
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


# Asking


@pytest.fixture
def users() -> list[User]:
    return people(2)


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Callable[..., HttpResponse]:
    """Return a function that asks for a page as a user, through a sync and an async stack."""
    client = Client() if request.param == "sync" else AsyncClient()
    client.raise_request_exception = False

    def get(address: str, *, user: User | None = None) -> HttpResponse:
        if user is not None:
            client.force_login(user)
        if request.param == "sync":
            return client.get(address)
        response = async_to_sync(client.get)(address)
        release()  # Because this client ends requests in the loop's thread, servers in the view's.
        return response

    return get


def request_of(user: User, address: str, *, method: str = "get") -> HttpRequest:
    """Return a request with the session of a user."""
    client = Client()
    client.force_login(user)
    request = getattr(RequestFactory(), method)(address)
    request.COOKIES.update({name: morsel.value for name, morsel in client.cookies.items()})
    return request


def respond(request: HttpRequest) -> HttpResponseBase:
    """Do what a WSGI server asks Django for."""
    handler = BaseHandler()
    handler.load_middleware()
    return handler.get_response(request)


async def arespond(request: HttpRequest) -> HttpResponseBase:
    """Do what an ASGI server asks Django for."""
    handler = BaseHandler()
    handler.load_middleware(is_async=True)
    return await handler.get_response_async(request)


def assert_nothing_is_left() -> None:
    assert current_user_id() is None
    assert pool.leased == 0


both_views = pytest.mark.parametrize("kind", ["", "a"])


# Who is active


@both_views
def test_request__is_its_users(get, users: list[User], kind: str) -> None:
    for user in (*users, *users):
        assert get(f"/{kind}read/", user=user).content.decode() == user.username
        assert_nothing_is_left()


@both_views
def test_request__of_nobody_is_forbidden(get, users: list[User], kind: str) -> None:
    assert get(f"/{kind}read/").status_code == 403
    assert get(f"/{kind}say/").status_code == 200
    assert_nothing_is_left()


@both_views
def test_request__that_reads_no_user_model_makes_no_query(
    get, users: list[User], kind: str, django_assert_num_queries
) -> None:
    get("/read/", user=users[0])
    with django_assert_num_queries(0):
        response = get(f"/{kind}say/")
    assert response.content == b"nothing was read"
    assert "Vary" not in response, "the session was not even looked at"


@both_views
def test_request__that_fails_leaves_nothing(get, users: list[User], kind: str) -> None:
    assert get(f"/{kind}fail/", user=users[0]).status_code == 500
    assert_nothing_is_left()
    assert texts(users[0]) == ["person0", "before the failure"]


@both_views
def test_log_in__inside_the_request(get, users: list[User], kind: str) -> None:
    assert get(f"/{kind}change_user/?users=person0,person1,person0").json() == [
        "person0",
        "person1",
        "person0",
    ]
    assert get(f"/{kind}change_user/?users=person1", user=users[0]).json() == ["person1"]
    assert_nothing_is_left()


def test_log_out__inside_the_request(get, users: list[User]) -> None:
    assert get("/change_user/?users=person0&out").status_code == 403
    assert get("/change_user/?users=person0,person1&out", user=users[0]).status_code == 403
    assert_nothing_is_left()


@both_views
def test_nested_blocks__inside_the_request(get, users: list[User], kind: str) -> None:
    alice, bob = users
    seen = get(f"/{kind}nested/?other={bob.pk}", user=alice).json()
    assert seen == ["person0", "person1", "person0", "person0"]
    assert_nothing_is_left()


def test_user__that_the_view_puts_into_the_request(get, users: list[User]) -> None:
    assert get("/replaces_user/?username=person1").content == b"person1"
    assert get("/replaces_user/?username=person1", user=users[0]).content == b"person1"


def test_iteration__in_the_event_loop_asks_for_the_user_in_a_thread(get, users: list[User]) -> None:
    assert get("/iterates/").status_code == 403
    for user in users:
        assert get("/iterates/", user=user).content.decode() == user.username
    assert_nothing_is_left()


def test_user__needed_in_the_event_loop_before_any_query(users: list[User]) -> None:
    alice, bob = users
    client = AsyncClient()
    client.force_login(alice)
    with pytest.raises(SynchronousOnlyOperation) as raised:
        async_to_sync(client.get)("/early/")
    assert str(raised.value) == (
        "The user of this request is not known yet, and the event loop may not ask the database."
        " Write `await request.auser()` before this line."
    )
    found = [alice.pk, f"user_{alice.pk}", alice.pk]
    assert async_to_sync(client.get)("/early/?ask").json() == found
    changed = [bob.pk, f"user_{bob.pk}", bob.pk]
    assert async_to_sync(client.get)("/early/?ask&login=person1").json() == changed


def resolve_by_header(request: HttpRequest) -> User | None:
    return get_user_model().objects.filter(username=request.headers.get("X-Name", "")).first()


def test_resolver__decides_instead_of_the_session(users: list[User], settings) -> None:
    settings.DSUD_USER_RESOLVER = f"{__name__}.resolve_by_header"
    client = Client()
    client.force_login(users[0])
    assert client.get("/read/", headers={"x-name": "person1"}).content == b"person1"
    assert client.get("/read/").status_code == 403


# What changes the answer to who is active, between two questions of one request


def signed_in(user: User) -> HttpRequest:
    """Return a request of a user who was found active, and is asked for no more than by a glance."""
    client = Client()
    client.force_login(user)
    request = HttpRequest()
    request.session = client.session
    request.user = SimpleLazyObject(lambda: get_user_model().objects.get(pk=user.pk))
    return request


def switch_to(request: HttpRequest, user: User) -> None:
    request.session[switch.SESSION_KEY] = {
        "actor": str(request.user.pk),
        "user": str(user.pk),
        "since": time.time(),
    }


CHANGES: dict[str, Callable[[HttpRequest, User], object]] = {
    "log in": lambda request, other: login(request, other, BACKEND),
    "another user": lambda request, other: setattr(request, "user", other),
    "another user's key": lambda request, other: setattr(request.user, "pk", other.pk),
    "switch": switch_to,
    "another session": lambda request, other: setattr(request, "session", SessionStore()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_user__is_asked_for_again_when_something_could_have_changed_it(
    users: list[User], change: str, django_assert_num_queries
) -> None:
    alice, bob = users
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    request = signed_in(alice)
    activation = UserOfRequest(request)
    assert activation.key() == str(alice.pk)
    with django_assert_num_queries(0):
        assert (activation.key(), activation.glance()) == (str(alice.pk), str(alice.pk))
    CHANGES[change](request, bob)
    expected = alice if change == "another session" else bob
    assert activation.key() == str(expected.pk)


@pytest.mark.parametrize("change", ["log out", "delete", "no user"])
def test_user__is_nobody_any_more(users: list[User], change: str) -> None:
    request = signed_in(users[0])
    activation = UserOfRequest(request)
    assert activation.key() == activation.key() == str(users[0].pk)
    if change == "log out":
        logout(request)
    elif change == "delete":
        request.user.delete()
    else:
        del request.user
    assert activation.key() is None


def test_user__of_a_resolver_is_asked_for_each_time(users: list[User], settings) -> None:
    settings.DSUD_USER_RESOLVER = f"{__name__}.resolve_by_header"
    request = HttpRequest()
    request.META["HTTP_X_NAME"] = "person0"
    activation = UserOfRequest(request)
    assert activation.key() == str(users[0].pk)
    del request.headers
    request.META["HTTP_X_NAME"] = "person1"
    assert activation.key() == str(users[1].pk)


def test_user__of_a_request_without_sessions(users: list[User]) -> None:
    request = HttpRequest()
    request.user = users[0]
    activation = UserOfRequest(request)
    assert activation.key() == activation.key() == activation.glance() == str(users[0].pk)
    request.user = users[1]
    assert activation.key() == str(users[1].pk)


def test_concurrent_requests__of_two_users_do_not_mix(users: list[User]) -> None:
    async def ask(user: User, client: AsyncClient, view: str) -> str:
        response = await client.get(f"/{view}/")
        return f"{view} {user.username}" if response.content.decode() == user.username else "mixed"

    async def all_at_once(clients: list[tuple[User, AsyncClient]]) -> list[str]:
        asked = [
            ask(user, client, view)
            for _ in range(10)
            for view in ("aread", "read")
            for user, client in clients
        ]
        return await asyncio.gather(*asked)

    clients = [(user, AsyncClient()) for user in users]
    for user, client in clients:
        client.force_login(user)
    seen = async_to_sync(all_at_once)(clients)
    release()
    assert sorted(set(seen)) == ["aread person0", "aread person1", "read person0", "read person1"]
    assert len(seen) == 40
    assert_nothing_is_left()


# Stacks


@sync_only_middleware
def passes_sync(get_response: Callable) -> Callable:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.inner_user = current_user_id()
        response = get_response(request)
        response.headers.setdefault("X-After", str(current_user_id()))
        return response

    return middleware


@async_only_middleware
def passes_async(get_response: Callable) -> Callable:
    async def middleware(request: HttpRequest) -> HttpResponseBase:
        response = await get_response(request)
        response.headers.setdefault("X-After", str(current_user_id()))
        return response

    return middleware


@both_views
@pytest.mark.parametrize("before", [[], ["passes_sync"], ["passes_async"]])
@pytest.mark.parametrize("after", [[], ["passes_sync"], ["passes_async"]])
def test_middleware__between_sync_and_async_ones(
    get, users: list[User], settings, kind: str, before: list[str], after: list[str]
) -> None:
    ours = f"{DatabaseSwitchMiddleware.__module__}.{DatabaseSwitchMiddleware.__qualname__}"
    stack = [name for name in settings.MIDDLEWARE if name != ours]
    settings.MIDDLEWARE = [
        *stack,
        *(f"{__name__}.{name}" for name in before),
        ours,
        *(f"{__name__}.{name}" for name in after),
    ]
    for user in users:
        response = get(f"/{kind}read/", user=user)
        assert response.content.decode() == user.username
        if after:
            assert response["X-After"] == str(user.pk)
        elif before:
            assert response["X-After"] == "None"
    assert_nothing_is_left()


# Streams


@pytest.mark.parametrize("view", ["stream", "astream"])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_stream__is_sent_as_its_user(get, users: list[User], view: str) -> None:
    for user in users:
        response = get(f"/{view}/", user=user)
        body = async_to_sync(collect)(response) if response.is_async else b"".join(response)
        response.close()
        assert body.decode() == user.username
        assert texts(user) == [user.username, f"closed for {user.pk}"]
    assert_nothing_is_left()


async def collect(response: StreamingHttpResponse) -> bytes:
    return b"".join([part async for part in response])


def consume(response: HttpResponseBase, *, steps: int) -> None:
    """Send a body as a WSGI server does, until the visitor leaves."""
    try:
        for _, _part in zip(range(steps), response, strict=False):
            assert current_user_id() is None, "between the steps nobody is active"
    finally:
        response.close()


async def aconsume(response: HttpResponseBase, *, steps: int) -> None:
    """Send a body as Django's ASGI handler does, until the visitor leaves."""
    try:
        if steps:
            async with aclosing(aiter(response)) as parts:
                async for _ in parts:
                    assert current_user_id() is None
                    steps -= 1
                    if not steps:
                        break
    finally:
        await sync_to_async(response.close)()
        for _ in range(10):  # The event loop closes generators that are left behind.
            await asyncio.sleep(0.01)


STOPS = pytest.mark.parametrize(
    ("steps", "closes"), [(0, False), (1, True), (2, True), (9, True)], ids=str
)


@STOPS
def test_stream__that_the_visitor_leaves_is_closed_as_its_user(
    users: list[User], steps: int, *, closes: bool
) -> None:
    alice, bob = users
    with use_user(alice):
        Note.objects.create(text="second")
    consume(respond(request_of(alice, "/stream/")), steps=steps)
    assert texts(alice) == ["person0", "second"] + closes * [f"closed for {alice.pk}"]
    assert texts(bob) == ["person1"]
    assert_nothing_is_left()


@STOPS
def test_async_stream__that_the_visitor_leaves_is_closed_as_its_user(
    users: list[User], steps: int, *, closes: bool
) -> None:
    alice, bob = users
    with use_user(alice):
        Note.objects.create(text="second")

    async def ask() -> None:
        await aconsume(await arespond(request), steps=steps)

    request = request_of(alice, "/astream/")
    async_to_sync(ask)()
    assert texts(alice) == ["person0", "second"] + closes * [f"closed for {alice.pk}"]
    assert texts(bob) == ["person1"]
    assert_nothing_is_left()


def test_stream__of_a_head_request_reads_nothing(get, users: list[User]) -> None:
    client = Client()
    client.force_login(users[0])
    response = client.head("/stream/")
    assert b"".join(response) == b""
    response.close()
    assert texts(users[0]) == ["person0"]
    assert_nothing_is_left()


def test_stream__that_fails_in_the_middle(users: list[User]) -> None:
    (alice, _) = users
    with pytest.raises(ZeroDivisionError):
        consume(respond(request_of(alice, "/stream/?fail")), steps=9)

    async def ask() -> None:
        await aconsume(await arespond(request), steps=9)

    request = request_of(alice, "/astream/?fail")
    with pytest.raises(ZeroDivisionError):
        async_to_sync(ask)()
    assert texts(alice) == ["person0", *[f"closed for {alice.pk}"] * 2]
    assert_nothing_is_left()


def test_stream__interleaved_with_anothers(users: list[User]) -> None:
    bodies = [respond(request_of(user, "/stream/")) for user in users]
    iterators = [iter(body) for body in bodies]
    assert [next(iterator) for iterator in iterators] == [b"person0", b"person1"]
    assert [list(iterator) for iterator in iterators] == [[], []]
    for body, user in zip(bodies, users, strict=True):
        body.close()
        assert texts(user) == [user.username, f"closed for {user.pk}"]
    assert_nothing_is_left()


def test_file__is_left_to_the_server(users: list[User]) -> None:
    response = respond(request_of(users[0], "/send_file/"))
    assert response.file_to_stream is not None
    response.close()
    assert response.file_to_stream.closed


# Databases that cannot serve


@pytest.fixture
def broken(users: list[User]) -> User:
    """Return a user whose file is missing."""
    pool.close_idle()
    engine().path_of(user_key(users[0])).unlink()
    return users[0]


@pytest.fixture
def templates(tmp_path, settings) -> Path:
    """Add a directory of templates to the project."""
    options = {**settings.TEMPLATES[0], "DIRS": [tmp_path]}
    settings.TEMPLATES = [options]
    (tmp_path / "first_note.html").write_text("{{ notes.0.text }}")
    return tmp_path


@pytest.mark.parametrize("address", ["/read/", "/aread/", "/lazy/"])
def test_unavailable__answers_503_to_that_user_only(
    get, users: list[User], broken: User, templates: Path, address: str, caplog
) -> None:
    with caplog.at_level(logging.ERROR, logger="dsud"):
        response = get(address, user=broken)
    assert response.status_code == 503
    assert response["Retry-After"] == "30"
    assert "Your data cannot be reached at the moment" in response.content.decode()
    assert "registered" not in response.content.decode()
    (record,) = [record for record in caplog.records if record.name == "dsud"]
    reason = f"The database of user '{broken.pk}' is registered but its file is missing."
    assert record.getMessage().startswith(reason)

    assert get(address, user=users[1]).content == b"person1"
    assert get("/say/", user=broken).status_code == 200
    assert_nothing_is_left()


@pytest.mark.parametrize("address", ["/read/", "/aread/", "/lazy/"])
def test_outdated__answers_503_to_that_user_only(
    get, users: list[User], templates: Path, address: str
) -> None:
    pool.close_idle()
    with closing(sqlite3.connect(engine().path_of(user_key(users[0])))) as raw:
        raw.executescript("PRAGMA user_version = 0; DELETE FROM django_migrations")
    response = get(address, user=users[0])
    assert response.status_code == 503
    assert response["Retry-After"] == "30"
    assert "Nothing is lost." in response.content.decode()

    assert get(address, user=users[1]).content == b"person1"
    assert get("/say/", user=users[0]).status_code == 200
    assert_nothing_is_left()


def test_unavailable__says_why_when_debugging(get, broken: User, settings) -> None:
    settings.DEBUG = True
    assert "is registered but its file is missing" in get("/read/", user=broken).content.decode()


def reads_notes(request: HttpRequest) -> dict[str, object]:
    return {"count": Note.objects.count()}


def test_unavailable__page_of_the_project_wins(
    get, users: list[User], broken: User, templates: Path, settings
) -> None:
    (templates / "503.html").write_text("Come back later.{{ reason }}{{ count }}")
    (options,) = settings.TEMPLATES
    processors = options["OPTIONS"]["context_processors"]
    changed = {**options["OPTIONS"], "context_processors": [*processors, f"{__name__}.reads_notes"]}
    settings.TEMPLATES = [{**options, "OPTIONS": changed}]
    assert get("/read/", user=broken).content == b"Come back later."
    assert get("/lazy/", user=users[1]).content == b"person1"


def test_unavailable__every_connection_in_use(users: list[User], settings, monkeypatch) -> None:
    monkeypatch.setattr("dsud.pool.WAIT", 0.05)
    alice, bob = users
    pool.close_idle()
    settings.DSUD_MAX_OPEN = 1
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client = Client()
    client.force_login(bob)
    with working_on(alice):
        assert in_thread(lambda: client.get("/read/")).status_code == 503
    assert client.get("/read/").content == b"person1"


def test_middleware__says_whether_it_is_async() -> None:
    async def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert iscoroutinefunction(DatabaseSwitchMiddleware(answer))
    assert not iscoroutinefunction(DatabaseSwitchMiddleware(say))
