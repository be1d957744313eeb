"""A consumer runs each message as the user of its connection, for as long as there is that user."""

import asyncio
import json
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack, login, logout
from channels.consumer import AsyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client

from dsud import current_user_id, use_user
from dsud.contrib.channels import ActiveUserMixin
from dsud.exceptions import NoActiveUser
from dsud.pool import pool
from tests.notes.models import Note

pytestmark = pytest.mark.django_db


class AsyncNotes(ActiveUserMixin, AsyncJsonWebsocketConsumer):
    """Notes over a web socket."""

    groups = ("everybody",)

    async def receive_json(self, content: dict[str, str], **kwargs: object) -> None:
        match content:
            case {"write": text}:
                await Note.objects.acreate(text=text)
            case {"log in": name}:
                user = await User.objects.aget(username=name)
                await login(self.scope, user, "django.contrib.auth.backends.ModelBackend")
                await sync_to_async(self.scope["session"].save)()
            case {"log out": _}:
                await logout(self.scope)
        await self.list_notes({})

    async def list_notes(self, event: dict[str, object]) -> None:
        await self.send_json([current_user_id(), *[n.text async for n in Note.objects.all()]])

    async def who(self, event: dict[str, object]) -> None:
        await self.send_json(current_user_id())


class SyncNotes(ActiveUserMixin, JsonWebsocketConsumer):
    """The same without a loop."""

    groups = ("everybody",)

    def receive_json(self, content: dict[str, str], **kwargs: object) -> None:
        match content:
            case {"write": text}:
                Note.objects.create(text=text)
            case {"log in": name}:
                user = User.objects.get(username=name)
                backend = "django.contrib.auth.backends.ModelBackend"
                async_to_sync(login)(self.scope, user, backend)
                self.scope["session"].save()
            case {"log out": _}:
                async_to_sync(logout)(self.scope)
        self.list_notes({})

    def list_notes(self, event: dict[str, object]) -> None:
        self.send_json([current_user_id(), *Note.objects.values_list("text", flat=True)])

    def who(self, event: dict[str, object]) -> None:
        self.send_json(current_user_id())


class NotesOverHttp(ActiveUserMixin, AsyncHttpConsumer):
    """Notes in a response."""

    async def handle(self, body: bytes) -> None:
        notes = [note.text async for note in Note.objects.all()]
        await self.send_response(200, json.dumps([current_user_id(), *notes]).encode())


class Peer(ApplicationCommunicator):
    """A browser at the other end of a consumer."""

    async def receive(self) -> dict[str, object]:
        """Return the next message, or raise at once what ended the consumer."""
        message = asyncio.ensure_future(self.output_queue.get())
        ends = [message, self.future]
        await asyncio.wait(ends, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        if not message.done():
            message.cancel()
            self.future.result()
        return await message


class Socket(Peer):
    """A browser at the other end of a web socket."""

    def __init__(self, consumer: type[AsyncConsumer], **scope: object) -> None:
        application = consumer.as_asgi()
        if "user" not in scope and "headers" in scope:
            application = AuthMiddlewareStack(application)
        super().__init__(application, {"type": "websocket", "path": "/", "headers": [], **scope})

    @classmethod
    def of_browser(cls, consumer: type[AsyncConsumer], browser: Client) -> "Socket":
        """Connect with the cookies of a browser that has logged in."""
        cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in browser.cookies.items())
        return cls(consumer, headers=[(b"cookie", cookies.encode())])

    async def connect(self) -> "Socket":
        await self.send_input({"type": "websocket.connect"})
        assert (await self.receive())["type"] == "websocket.accept"
        return self

    async def ask(self, **content: str) -> object:
        await self.send_input({"type": "websocket.receive", "text": json.dumps(content)})
        return await self.answer()

    async def answer(self) -> object:
        return json.loads((await self.receive())["text"])

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(5)


@pytest.fixture(autouse=True)
def channel_layer(settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(params=[AsyncNotes, SyncNotes])
def consumer(request: pytest.FixtureRequest) -> type[AsyncConsumer]:
    return request.param


@pytest.fixture
def browser(alice: User) -> Client:
    """Return the browser of alice, who has logged in."""
    browser = Client()
    browser.force_login(alice)
    return browser


Consumer = type[AsyncConsumer]


# As the user


def test_messages__run_as_the_user_of_their_connection(
    consumer: Consumer, alice: User, bob: User
) -> None:
    async def talk() -> None:
        hers = await Socket(consumer, user=alice).connect()
        his = await Socket(consumer, user=bob).connect()

        assert await hers.ask(write="hers") == [alice.pk, "hers"]
        assert await his.ask(write="his") == [bob.pk, "his"]
        assert await hers.ask(write="hers too") == [alice.pk, "hers", "hers too"]
        assert current_user_id() is None
        await hers.leave()
        await his.leave()

    async_to_sync(talk)()
    with use_user(alice):
        assert list(Note.objects.values_list("text", flat=True)) == ["hers", "hers too"]


def test_group_message__runs_as_each_user_who_receives_it(
    consumer: Consumer, alice: User, bob: User
) -> None:
    async def talk() -> None:
        hers = await Socket(consumer, user=alice).connect()
        his = await Socket(consumer, user=bob).connect()
        await hers.ask(write="hers")
        async with use_user(bob):
            await get_channel_layer().group_send("everybody", {"type": "list.notes"})

        assert await hers.answer() == [alice.pk, "hers"]
        assert await his.answer() == [bob.pk]

    async_to_sync(talk)()


def test_session__says_who_the_user_is(consumer: Consumer, alice: User, browser: Client) -> None:
    async def talk() -> None:
        socket = await Socket.of_browser(consumer, browser).connect()

        assert await socket.ask(write="hers") == [alice.pk, "hers"]
        assert await socket.ask(write="again") == [alice.pk, "hers", "again"]

    async_to_sync(talk)()


def test_http__runs_as_the_user(alice: User) -> None:
    async def get(scope: dict[str, object]) -> bytes:
        http = Peer(NotesOverHttp.as_asgi(), {"type": "http", **scope})
        await http.send_input({"type": "http.request", "body": b""})
        await http.receive()
        return (await http.receive())["body"]

    with use_user(alice):
        Note.objects.create(text="hers")

    assert async_to_sync(get)({"user": alice}) == b'[%d, "hers"]' % alice.pk
    with pytest.raises(NoActiveUser):
        async_to_sync(get)({"user": AnonymousUser()})


def test_log_in_and_log_out__count_at_once(consumer: Consumer, alice: User) -> None:
    async def talk() -> None:
        socket = await Socket.of_browser(consumer, Client()).connect()

        assert await socket.ask(**{"log in": "alice"}) == [alice.pk]
        assert await socket.ask(write="hers") == [alice.pk, "hers"]
        with pytest.raises(NoActiveUser):
            await socket.ask(**{"log out": "alice"})

    async_to_sync(talk)()


# As nobody


@pytest.mark.parametrize("scope", [{"user": AnonymousUser()}, {"user": None}, {}])
def test_visitor__reaches_no_user_model(consumer: Consumer, scope: dict[str, object]) -> None:
    async def talk() -> None:
        socket = await Socket(consumer, **scope).connect()
        await get_channel_layer().group_send("everybody", {"type": "who"})

        assert await socket.answer() is None
        with pytest.raises(NoActiveUser):
            await socket.ask(write="whose")

    async_to_sync(talk)()


def test_consumer_without_the_mixin__reaches_no_user_model(alice: User) -> None:
    class Forgotten(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: object, **kwargs: object) -> None:
            await self.send_json(await Note.objects.acount())

    async def talk() -> None:
        socket = await Socket(Forgotten, user=alice).connect()
        with pytest.raises(NoActiveUser):
            await socket.ask()

    async_to_sync(talk)()


def delete(user: User) -> None:
    User.objects.get(pk=user.pk).delete()


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("end", [delete, deactivate])
def test_user_who_is_gone__reaches_nothing_from_then_on(
    consumer: Consumer, alice: User, end: Callable[[User], None]
) -> None:
    async def talk() -> None:
        socket = await Socket(consumer, user=alice).connect()
        assert await socket.ask(write="hers") == [alice.pk, "hers"]
        await sync_to_async(end)(alice)
        await get_channel_layer().group_send("everybody", {"type": "who"})

        assert await socket.answer() is None
        with pytest.raises(NoActiveUser):
            await socket.ask(write="too late")

    async_to_sync(talk)()


def log_out(browser: Client, user: User) -> None:
    browser.logout()


def change_password(browser: Client, user: User) -> None:
    user.set_password("another")
    user.save()


@pytest.mark.parametrize("end", [log_out, change_password])
def test_session_that_has_ended__ends_the_user(
    consumer: Consumer, alice: User, browser: Client, end: Callable[[Client, User], None]
) -> None:
    async def talk() -> None:
        socket = await Socket.of_browser(consumer, browser).connect()
        assert await socket.ask(write="hers") == [alice.pk, "hers"]
        await sync_to_async(end)(browser, alice)

        with pytest.raises(NoActiveUser):
            await socket.ask(write="too late")

    async_to_sync(talk)()


def test_session_of_somebody_else__does_not_hinder_a_token(
    consumer: Consumer, bob: User, browser: Client
) -> None:
    async def talk() -> None:
        scope = {"session": browser.session, "user": bob}
        socket = await Socket(consumer, **scope).connect()
        await sync_to_async(browser.logout)()

        assert await socket.ask(write="his") == [bob.pk, "his"]

    async_to_sync(talk)()


def test_inactive_user__stays_as_welcome_as_before(consumer: Consumer, alice: User) -> None:
    deactivate(alice)
    alice.refresh_from_db()

    async def talk() -> None:
        socket = await Socket(consumer, user=alice).connect()
        assert await socket.ask(write="hers") == [alice.pk, "hers"]

    async_to_sync(talk)()


# Connections to databases


@pytest.mark.django_db(transaction=True)
def test_connections__are_returned_after_each_message(consumer: Consumer, alice: User) -> None:
    before = pool.leased  # By threads of other tests that still live.
    leased = []

    async def talk() -> None:
        socket = await Socket(consumer, user=alice).connect()
        for text in ("one", "two"):
            await socket.ask(write=text)
            await asyncio.sleep(0.05)
            leased.append(pool.leased)
        await socket.leave()

    async_to_sync(talk)()

    assert leased == [before, before]


class Slow(ActiveUserMixin, AsyncJsonWebsocketConsumer):
    """Sends notes one by one, and the next one when it is told to."""

    async def receive_json(self, content: dict[str, str], **kwargs: object) -> None:
        async for note in Note.objects.order_by("pk").aiterator(chunk_size=1):
            await self.send_json(note.text)
            await self.scope["go on"].wait()


@pytest.mark.django_db(transaction=True)
def test_half_read_rows__survive_the_messages_of_others(alice: User, bob: User) -> None:
    async def talk() -> list[object]:
        go_on = asyncio.Event()
        slow = await Socket(Slow, user=alice, **{"go on": go_on}).connect()
        first = await slow.ask()
        other = await Socket(AsyncNotes, user=bob).connect()
        await other.ask(write="his")
        await asyncio.sleep(0.05)
        go_on.set()
        return [first, await slow.answer(), await slow.answer()]

    with use_user(alice):
        for text in ("one", "two", "three"):
            Note.objects.create(text=text)

    assert async_to_sync(talk)() == ["one", "two", "three"]
