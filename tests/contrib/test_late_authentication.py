"""Who asks may be found out late, in any way a project likes, and costs nothing when nobody wants to know."""

import asyncio
import json

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core import signing
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from ninja import NinjaAPI, Schema
from ninja.security import HttpBearer

from dsud import use_user
from dsud.pool import pool
from tests.notes.models import Note
from tests.sites import Site

# Django REST framework, in a site of its own because its tokens are an app


@pytest.fixture(scope="session")
def answers(site: Site) -> dict[str, object]:
    """Return what the API answers to two users, a stranger and a visitor.

    Once for each process: a module may be left and come back to, and the site stays.
    """
    printed = site.run("""
import json
from django.test import Client
from rest_framework.authtoken.models import Token
alice, bob = [User.objects.create_user(name) for name in ("late-alice", "late-bob")]
tokens = [Token.objects.create(user=user).key for user in (alice, bob)]

def ask(token, method, path, **data):
    headers = {"authorization": f"Token {token}"} if token else {}
    response = getattr(browser, method)(
        path, data or None, content_type="application/json", headers=headers
    )
    body = json.loads(response.content) if response.content else None
    return [response.status_code, body]

hers, his = tokens
browser = Client()
answers = {
    "create": [ask(hers, "post", "/notes/", text="hers"), ask(his, "post", "/notes/", text="his")],
    "create more": ask(hers, "post", "/notes/", text="hers too"),
    "list": [ask(hers, "get", "/notes/"), ask(his, "get", "/notes/")],
    "detail": [ask(hers, "get", "/notes/2/"), ask(his, "get", "/notes/2/")],
    "update": ask(his, "put", "/notes/1/", text="changed"),
    "partly": ask(hers, "patch", "/notes/2/", text="changed, too"),
    "delete": [ask(his, "delete", "/notes/2/"), ask(his, "delete", "/notes/1/")],
    "afterwards": [ask(hers, "get", "/notes/"), ask(his, "get", "/notes/")],
    "stranger": ask("forged", "get", "/notes/"),
    "visitor": ask(None, "get", "/notes/"),
    "open": [ask(None, "get", "/open/"), ask(None, "post", "/open/", text="whose")],
}
browser.force_login(bob)
answers["session of another"] = ask(hers, "get", "/notes/2/")
answers["session only"] = ask(None, "get", "/notes/")
print(json.dumps(answers))
""")
    return json.loads(printed)


HERS = {"id": 1, "text": "hers"}
HERS_TOO = {"id": 2, "text": "hers too"}
CHANGED = {"id": 2, "text": "changed, too"}
MISSING = [404, {"detail": "No Note matches the given query."}]


def test_viewset__writes_to_the_database_of_the_tokens_user(answers: dict) -> None:
    assert answers["create"] == [[201, HERS], [201, {"id": 1, "text": "his"}]]
    assert answers["create more"] == [201, HERS_TOO]


def test_viewset__reads_with_a_queryset_made_for_nobody(answers: dict) -> None:
    assert answers["list"] == [[200, [HERS, HERS_TOO]], [200, [{"id": 1, "text": "his"}]]]
    assert answers["detail"] == [[200, HERS_TOO], MISSING]


def test_viewset__changes_and_deletes_the_users_own_rows(answers: dict) -> None:
    assert answers["update"] == [200, {"id": 1, "text": "changed"}]
    assert answers["partly"] == [200, CHANGED]
    assert answers["delete"] == [MISSING, [204, None]]
    assert answers["afterwards"] == [[200, [HERS, CHANGED]], [200, []]]


def test_viewset__turns_strangers_away(answers: dict) -> None:
    assert answers["stranger"] == [401, {"detail": "Invalid token."}]
    missing = "Authentication credentials were not provided."
    assert answers["visitor"] == answers["session only"] == [401, {"detail": missing}]


def test_viewset_without_permissions__fails_closed(answers: dict) -> None:
    assert [status for status, _ in answers["open"]] == [403, 403]


def test_token__outweighs_the_session_of_another(answers: dict) -> None:
    assert answers["session of another"] == [200, CHANGED]


# django-ninja


class Bearer(HttpBearer):
    """Finds the user by a signed token."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        try:
            return User.objects.filter(pk=signing.loads(token)).first()
        except signing.BadSignature:
            return None


class NewNote(Schema):
    """What is sent to write a note."""

    text: str


api = NinjaAPI(auth=Bearer(), urls_namespace="late")


@api.get("notes")
def list_notes(request: HttpRequest) -> list[str]:
    return list(Note.objects.values_list("text", flat=True))


@api.post("notes")
def write_note(request: HttpRequest, new: NewNote) -> int:
    return Note.objects.create(text=new.text).pk


@api.get("async-notes")
async def list_notes_async(request: HttpRequest) -> list[str]:
    return [note.text async for note in Note.objects.all()]


@api.get("open", auth=None)
def list_notes_of_nobody(request: HttpRequest) -> list[str]:
    return list_notes(request)


# A project's own way


def user_of_ninja(request: HttpRequest) -> User | None:
    """Return whom the API has authenticated."""
    return getattr(request, "auth", None)


looked_up: list[str] = []


def user_of_header(request: HttpRequest) -> User | None:
    """Return the user whom a header names, looked up once per request."""
    if not hasattr(request, "named"):
        looked_up.append(request.path)
        name = request.headers.get("X-Remote-User")
        request.named = User.objects.filter(username=name).first()
    return request.named


def notes(request: HttpRequest) -> HttpResponse:
    return HttpResponse(",".join(Note.objects.values_list("text", flat=True)))


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing")


async def nothing_async(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("nothing")


def building(request: HttpRequest) -> HttpResponse:
    """Build a queryset, but never evaluate it."""
    return HttpResponse(str(Note.objects.filter(text="x").query.model.__name__))


urlpatterns = [
    path("api/", api.urls),
    path("notes/", notes),
    path("nothing/", nothing),
    path("nothing-async/", nothing_async),
    path("building/", building),
]


@pytest.fixture
def two_notes(settings, alice: User, bob: User) -> None:
    """Give both users a note, and serve the addresses of this module."""
    settings.ROOT_URLCONF = __name__
    for user in (alice, bob):
        with use_user(user):
            Note.objects.create(text=f"of {user}")


@pytest.fixture
def ninja(settings, two_notes: None) -> None:
    settings.DSUD_USER_RESOLVER = f"{__name__}.user_of_ninja"


@pytest.mark.parametrize("address", ["/api/notes", "/api/async-notes"])
def test_ninja__reads_as_whom_it_authenticated(
    ninja: None, alice: User, bob: User, address: str
) -> None:
    for user in (alice, bob):
        headers = {"authorization": f"Bearer {signing.dumps(user.pk)}"}
        assert Client().get(address, headers=headers).json() == [f"of {user}"]
        assert async_to_sync(AsyncClient().get)(address, headers=headers).json() == [f"of {user}"]


def test_ninja__writes_as_whom_it_authenticated(ninja: None, alice: User, bob: User) -> None:
    headers = {"authorization": f"Bearer {signing.dumps(alice.pk)}"}
    response = Client().post(
        "/api/notes", {"text": "new"}, content_type="application/json", headers=headers
    )

    assert response.json() == 2
    with use_user(bob):
        assert Note.objects.count() == 1


def test_ninja__turns_strangers_away(ninja: None, alice: User) -> None:
    assert Client().get("/api/notes", headers={"authorization": "Bearer no"}).status_code == 401
    assert Client().get("/api/notes").status_code == 401
    assert Client().get("/api/open").status_code == 403


def test_ninja__overrules_the_session(ninja: None, alice: User, bob: User) -> None:
    browser = Client()
    browser.force_login(bob)
    headers = {"authorization": f"Bearer {signing.dumps(alice.pk)}"}

    assert browser.get("/api/notes", headers=headers).json() == ["of alice"]
    assert browser.get("/api/open").status_code == 403


@pytest.fixture
def header(settings, two_notes: None) -> None:
    settings.DSUD_USER_RESOLVER = f"{__name__}.user_of_header"
    looked_up.clear()


def test_resolver__decides_whose_data_it_is(header: None, alice: User, bob: User) -> None:
    browser = Client()
    browser.force_login(bob)

    assert browser.get("/notes/", headers={"x-remote-user": "alice"}).content == b"of alice"
    assert browser.get("/notes/", headers={"x-remote-user": "nobody"}).status_code == 403
    assert looked_up == ["/notes/", "/notes/"]


@pytest.mark.parametrize("address", ["/nothing/", "/nothing-async/", "/building/", "/none/"])
def test_resolver__is_not_asked_without_need(header: None, address: str) -> None:
    Client().get(address, headers={"x-remote-user": "alice"})

    assert looked_up == []


# What it costs


@pytest.mark.parametrize("address", ["/nothing/", "/nothing-async/", "/building/", "/none/"])
@pytest.mark.parametrize("method", ["get", "head", "post"])
def test_request_that_touches_no_user_model__costs_nothing(
    two_notes: None, alice: User, address: str, method: str
) -> None:
    browser = Client()
    browser.force_login(alice)
    leased = pool.leased

    with CaptureQueriesContext(connection) as queries:
        getattr(browser, method)(address)

    assert [query["sql"] for query in queries] == []
    assert pool.leased == leased


@pytest.mark.parametrize("address", ["/nothing/", "/nothing-async/", "/building/", "/none/"])
def test_asynchronous_request_that_touches_no_user_model__costs_nothing(
    two_notes: None, alice: User, address: str
) -> None:
    browser = AsyncClient()
    browser.force_login(alice)

    with CaptureQueriesContext(connection) as queries:
        async_to_sync(browser.get)(address)

    assert [query["sql"] for query in queries] == []


def test_request_that_touches_a_user_model__costs_session_and_user(
    two_notes: None, alice: User
) -> None:
    browser = Client()
    browser.force_login(alice)

    with CaptureQueriesContext(connection) as queries:
        assert browser.get("/notes/").content == b"of alice"

    tables = [query["sql"].partition("FROM ")[2].split()[0] for query in queries]
    assert tables == ['"django_session"', '"auth_user"']
