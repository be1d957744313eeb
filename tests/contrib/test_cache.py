"""No entry of a cache of users is ever read by another user."""

import asyncio

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client
from django.urls import path
from django.views.decorators.cache import cache_page
from hypothesis import assume, given
from hypothesis import strategies as st

from dsud import current_user_id, use_user
from dsud.context import Activation, Block
from dsud.contrib.cache import make_key
from dsud.exceptions import NoActiveUser

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "tests"}
USERS = {**LOCMEM, "KEY_FUNCTION": "dsud.contrib.cache.make_key"}

texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(":=%/1aé", max_size=8)


@pytest.fixture(autouse=True)
def two_caches(settings) -> None:
    """Have a cache of users and a shared one in the same place."""
    settings.CACHES = {"default": LOCMEM, "users": USERS}
    caches["default"].clear()


def test_entry__is_its_users_own(alice: User, bob: User) -> None:
    with use_user(alice):
        caches["users"].set("notes", "hers")
    with use_user(bob):
        assert caches["users"].get("notes") is None
        caches["users"].set_many({"notes": "his", "other": "his too"})
        assert caches["users"].delete("other")
    with use_user(alice):
        assert caches["users"].get("notes") == "hers"
        assert caches["users"].get_many(["notes", "other"]) == {"notes": "hers"}


def test_nobody__has_no_entries(alice: User) -> None:
    with pytest.raises(NoActiveUser) as raised:
        caches["users"].get("notes")
    with pytest.raises(NoActiveUser):
        caches["users"].set("notes", "whose")

    assert str(raised.value) == (
        "No user is active, so there is no place for this entry in a cache of users. Log in, wrap"
        " the code in `with dsud.use_user(user):`, or use a cache that everybody shares."
    )


def test_shared_cache__needs_nobody_and_meets_no_users_entries(alice: User) -> None:
    caches["default"].set(f"user={alice.pk}:1:notes", "shared", version=1)
    caches["default"].set("notes", "shared")
    with use_user(alice):
        assert caches["default"].get("notes") == "shared"
        assert caches["users"].get("notes") is None


def test_entry__is_the_users_in_asynchronous_code(alice: User, bob: User) -> None:
    async def remember(user: User) -> str | None:
        async with use_user(user):
            await caches["users"].aset("name", user.username)
            await asyncio.sleep(0)
            return await caches["users"].aget("name")

    async def both() -> list[str | None]:
        return await asyncio.gather(remember(alice), remember(bob))

    assert async_to_sync(both)() == ["alice", "bob"]


def test_key__is_readable() -> None:
    with Block(Activation(key="7")):
        assert make_key("notes", "site", 1) == "site:user=7:1:notes"


@given(*[texts] * 6, st.integers(1, 3) | texts, st.integers(1, 3) | texts)
def test_keys__of_two_users_never_meet(
    user: str, other: str, key: str, other_key: str, prefix: str, extra: str, version, other_version
) -> None:
    assume(user != other)
    with Block(Activation(key=user)):
        mine = make_key(key, prefix, version)
    with Block(Activation(key=other)):
        theirs = [
            make_key(other_key, prefix, other_version),
            make_key(f"{extra}:{key}", prefix, version),
            make_key(key, prefix, f"{extra}:user={user}:{version}"),
        ]

    assert mine not in theirs


def test_keys__of_a_user_whose_name_looks_like_a_key_are_still_its_own() -> None:
    with Block(Activation(key="eve:1:x")):
        hers = make_key("notes", "site", 1)
    with Block(Activation(key="eve")):
        assert make_key("x:1:notes", "site", 1) != hers


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"of {current_user_id()}")


urlpatterns = [path("page/", cache_page(60, cache="users")(page))]


def test_cached_page__is_each_users_own(settings, alice: User, bob: User) -> None:
    settings.ROOT_URLCONF = __name__
    pages = []
    for user in (alice, bob, alice):
        browser = Client()
        browser.force_login(user)
        pages.append(browser.get("/page/").content.decode())

    assert pages == [f"of {alice.pk}", f"of {bob.pk}", f"of {alice.pk}"]
    assert Client().get("/page/").status_code == 403


def test_cached_fragment__is_each_users_own(alice: User, bob: User) -> None:
    template = Template(
        '{% load cache %}{% cache 60 side using="users" %}of {{ name }}{% endcache %}'
    )
    rendered = []
    for user, name in [(alice, "alice"), (bob, "bob"), (alice, "changed")]:
        with use_user(user):
            rendered.append(template.render(Context({"name": name})))

    assert rendered == ["of alice", "of bob", "of alice"]
