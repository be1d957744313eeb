"""Tests of switching: who may, how it ends, what is recorded, the POST views."""

import logging

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, RequestFactory
from django.urls import clear_script_prefix, include, path, reverse, set_script_prefix

from dsud import audit, switch
from dsud.context import current_user_id
from dsud.exceptions import NoActiveUser
from dsud.middleware import UserOfRequest
from dsud.signals import user_switch_ended, user_switched

User = get_user_model()


def who(request):
    """Answer who is logged in and whose database is active."""
    return JsonResponse({"logged_in": request.user.username, "active": current_user_id()})


def form(request):
    """Answer the CSRF token of a form."""
    return HttpResponse(get_token(request))


urlpatterns = [
    path("who/", who),
    path("form/", form),
    path("somewhere/", include("dsud.urls", namespace="dsud")),
]

SET = "/somewhere/switch-user/"
UNSET = "/somewhere/switch-user/end/"
CHOOSE = "/somewhere/switch-user/choose/"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def alice(db):
    return User.objects.create_superuser("alice", password="secret")


@pytest.fixture
def bob(db):
    return User.objects.create_user("bob")


@pytest.fixture
def carol(db):
    return User.objects.create_user("carol", is_staff=True)


@pytest.fixture
def eve(db):
    return User.objects.create_user("eve")


@pytest.fixture
def as_alice(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def switched(as_alice, bob):
    """Alice's browser, with bob's data open."""
    response = as_alice.post(SET, {"user_id": bob.pk})
    assert response.status_code == 302
    return as_alice


@pytest.fixture
def heard():
    """Every signal of a switch, as it was received."""
    received = []

    def started(sender, signal, request, **kwargs):
        received.append({"sender": sender, **kwargs})

    user_switched.connect(started)
    user_switch_ended.connect(started)
    yield received
    user_switched.disconnect(started)
    user_switch_ended.disconnect(started)


def open_for(client):
    """Return the primary key of the user whose data the client's session has open, as text."""
    state = client.session.get(switch.SESSION_KEY)
    return None if state is None else state["user"]


def log_of(user):
    return [
        (entry.user.username, entry.action_flag, entry.change_message)
        for entry in LogEntry.objects.filter(object_id=str(user.pk)).order_by("pk")
    ]


class TestPermission:
    def test_may_open__superuser_onto_user(self, alice, bob):
        assert switch.may_open(alice, user=bob)

    def test_may_open__user_onto_user(self, eve, bob):
        assert not switch.may_open(eve, user=bob)

    def test_may_open__anonymous(self, bob):
        assert not switch.may_open(AnonymousUser(), user=bob)

    def test_may_open__staff_onto_user(self, carol, bob):
        assert not switch.may_open(carol, user=bob)

    def test_may_open__staff_onto_oneself(self, carol):
        assert switch.may_open(carol, user=carol)

    def test_may_open__user_onto_oneself(self, eve):
        assert not switch.may_open(eve, user=eve)

    def test_may_open__inactive_actor(self, alice, bob):
        alice.is_active = False
        assert not switch.may_open(alice, user=bob)
        assert not switch.may_open(alice, user=alice)

    def test_may_open__inactive_user(self, alice, bob, settings):
        settings.DSUD_SWITCH_PERMISSION = f"{__name__}.anybody"
        bob.is_active = False
        assert not switch.may_open(alice, user=bob)

    def test_may_open__permission_of_the_project(self, eve, bob, carol, settings):
        settings.DSUD_SWITCH_PERMISSION = f"{__name__}.eve_onto_bob"
        assert switch.may_open(eve, user=bob)
        assert not switch.may_open(eve, user=carol)

    def test_may_open__permission_is_a_coroutine_function(self, alice, bob, settings):
        settings.DSUD_SWITCH_PERMISSION = f"{__name__}.asynchronous"
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            assert not switch.may_open(alice, user=bob)

    def test_active_superusers__user_model_without_superusers(self):
        class Minimal:
            is_active = True

        assert not switch.active_superusers(actor=Minimal(), user=Minimal())


def anybody(*, actor, user):
    return True


async def asynchronous(*, actor, user):
    return True


def eve_onto_bob(*, actor, user):
    return actor.username == "eve" and user.username == "bob"


class TestSetUser:
    def test_set_user__allowed(self, as_alice, alice, bob):
        response = as_alice.post(SET, {"user_id": bob.pk})
        assert (response.status_code, response.url) == (302, "/")
        assert open_for(as_alice) == str(bob.pk)
        assert as_alice.get("/who/").json() == {"logged_in": "alice", "active": bob.pk}

    def test_set_user__refused(self, client, eve, bob):
        client.force_login(eve)
        assert client.post(SET, {"user_id": bob.pk}).status_code == 403
        assert open_for(client) is None
        assert client.get("/who/").json() == {"logged_in": "eve", "active": eve.pk}

    def test_set_user__anonymous(self, client, bob):
        assert client.post(SET, {"user_id": bob.pk}).status_code == 403
        assert open_for(client) is None

    @pytest.mark.parametrize("unknown", ["999999", "", "bob", "9" * 40, "\0", "1 OR 1=1", None])
    def test_set_user__unknown_is_answered_like_forbidden(self, client, eve, bob, unknown):
        client.force_login(eve)
        forbidden = client.post(SET, {"user_id": bob.pk})
        answer = client.post(SET, {} if unknown is None else {"user_id": unknown})
        assert (answer.status_code, answer.content) == (403, forbidden.content)

    def test_set_user__unknown_for_a_superuser(self, as_alice):
        assert as_alice.post(SET, {"user_id": "999999"}).status_code == 403

    def test_set_user__inactive_user(self, as_alice, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        assert as_alice.post(SET, {"user_id": bob.pk}).status_code == 403

    def test_set_user__key_in_the_address(self, as_alice, bob):
        assert as_alice.post(f"{SET}?user_id={bob.pk}").status_code == 403

    @pytest.mark.parametrize("address", [SET, UNSET])
    @pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
    def test_views__not_posted(self, as_alice, bob, address, method):
        response = getattr(as_alice, method)(address, {"user_id": bob.pk})
        assert (response.status_code, response["Allow"]) == (405, "POST")
        assert open_for(as_alice) is None

    @pytest.mark.parametrize("address", [SET, UNSET])
    def test_views__without_csrf_token(self, switched, bob, address):
        browser = Client(enforce_csrf_checks=True)
        browser.cookies = switched.cookies
        assert browser.post(address, {"user_id": bob.pk}).status_code == 403
        assert open_for(browser) == str(bob.pk)

    def test_set_user__csrf_without_the_middleware(self, alice, bob, settings):
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)
        assert browser.post(SET, {"user_id": bob.pk}).status_code == 403
        assert open_for(browser) is None

    def test_set_user__while_another_is_open(self, switched, alice, bob, eve, heard):
        assert switched.post(SET, {"user_id": eve.pk}).status_code == 302
        assert switched.get("/who/").json()["active"] == eve.pk
        assert [(event["user"], event.get("reason")) for event in heard] == [
            (bob, "replaced"),
            (eve, None),
        ]

    def test_set_user__refused_while_another_is_open(self, switched, bob):
        assert switched.post(SET, {"user_id": "999999"}).status_code == 403
        assert open_for(switched) == str(bob.pk)

    def test_set_user__never_cached(self, as_alice, bob):
        assert "no-store" in as_alice.post(SET, {"user_id": bob.pk})["Cache-Control"]

    def test_set_user__receiver_forbids(self, as_alice, bob):
        def forbid(**kwargs):
            raise PermissionDenied("Not today.")

        user_switched.connect(forbid)
        try:
            assert as_alice.post(SET, {"user_id": bob.pk}).status_code == 403
        finally:
            user_switched.disconnect(forbid)
        assert open_for(as_alice) is None
        assert log_of(bob) == []

    def test_set_user__form_in_another_window(self, alice, bob, eve):
        """A form that shows bob's note must not be saved onto the note that eve has under its key."""
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)

        def token():
            return browser.get("/form/").content.decode()

        def send(address, token, **body):
            return browser.post(address, {"csrfmiddlewaretoken": token, **body}).status_code

        assert send(SET, token(), user_id=bob.pk) == 302
        shows_bob = token()
        assert send("/form/", shows_bob) == 200
        assert send(SET, token(), user_id=eve.pk) == 302
        assert send("/form/", shows_bob) == 403
        shows_eve = token()
        assert send(UNSET, token()) == 302
        assert send("/form/", shows_eve) == 403
        assert send("/form/", token()) == 200


class TestNext:
    def test_next__page_of_this_site(self, as_alice, bob):
        response = as_alice.post(SET, {"user_id": bob.pk, "next": "/who/?a=1&b=2"})
        assert response.url == "/who/?a=1&b=2"

    def test_next__of_unset_user(self, switched):
        assert switched.post(UNSET, {"next": "/who/"}).url == "/who/"

    @pytest.mark.parametrize(
        "hostile",
        [
            "https://evil.example/",
            "//evil.example/",
            "///evil.example/",
            "/\\evil.example/",
            "\\\\evil.example/",
            "javascript:alert(1)",
            "http:evil.example",
            "https://testserver@evil.example/",
            "\x08//evil.example",
            " //evil.example",
            "",
        ],
    )
    @pytest.mark.parametrize("address", [SET, UNSET])
    def test_next__hostile(self, switched, bob, address, hostile):
        response = switched.post(address, {"user_id": bob.pk, "next": hostile})
        assert (response.status_code, response.url) == (302, "/")

    def test_next__plain_http_while_on_https(self, as_alice, bob):
        body = {"user_id": bob.pk, "next": "http://testserver/who/"}
        assert as_alice.post(SET, body, secure=True).url == "/"
        assert as_alice.post(SET, body).url == "http://testserver/who/"

    @pytest.mark.parametrize("address", [SET, UNSET])
    def test_next__never_the_referer(self, switched, bob, address):
        response = switched.post(address, {"user_id": bob.pk}, HTTP_REFERER="http://testserver/x/")
        assert response.url == "/"

    def test_next__too_long(self, as_alice, bob):
        response = as_alice.post(SET, {"user_id": bob.pk, "next": "/" + "x" * 20_000})
        assert (response.status_code, response.url) == (302, "/")

    def test_default_target__under_a_prefix(self):
        set_script_prefix("/site/")
        try:
            assert switch.default_target() == "/site/"
        finally:
            clear_script_prefix()


class TestUnsetUser:
    def test_unset_user__data_open(self, switched, alice):
        assert switched.post(UNSET).status_code == 302
        assert open_for(switched) is None
        assert switched.get("/who/").json() == {"logged_in": "alice", "active": alice.pk}

    def test_unset_user__nothing_open(self, as_alice, heard):
        assert as_alice.post(UNSET).status_code == 302
        assert heard == []

    def test_unset_user__anonymous(self, client):
        assert client.post(UNSET).status_code == 302

    def test_unset_user__expired_already(self, switched, clock, heard):
        clock.pass_seconds(4000)
        assert switched.post(UNSET).status_code == 302
        assert [event["reason"] for event in heard] == ["asked"]

    def test_unset_user__receiver_fails(self, switched, caplog):
        def fail(**kwargs):
            raise RuntimeError("deaf")

        user_switch_ended.connect(fail)
        try:
            assert switched.post(UNSET).status_code == 302
        finally:
            user_switch_ended.disconnect(fail)
        assert open_for(switched) is None
        assert "deaf" in caplog.text


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now

    def pass_seconds(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    stopped = Clock()
    monkeypatch.setattr(switch, "time", stopped)
    return stopped


@pytest.fixture
def timed(clock, switched):
    """Alice's browser with bob's data open, under a clock that the test moves."""
    return switched


def assert_lost(client, *, alice, reason, heard):
    """Check that one request is refused, that nothing is left open, and that the next is normal."""
    lost = client.get("/who/")
    assert lost.status_code == 403
    assert open_for(client) is None
    assert [event["reason"] for event in heard] == [reason]
    assert client.get("/who/").json() == {"logged_in": "alice", "active": alice.pk}


class TestEnd:
    def test_end__not_yet_expired(self, timed, clock, bob):
        clock.pass_seconds(3600)
        assert timed.get("/who/").json()["active"] == bob.pk

    def test_end__expired(self, timed, clock, alice, bob, heard):
        clock.pass_seconds(3601)
        assert_lost(timed, alice=alice, reason="expired", heard=heard)
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (expired).")

    def test_end__age_of_the_project(self, timed, clock, alice, heard, settings):
        settings.DSUD_SWITCH_AGE = 60
        clock.pass_seconds(61)
        assert_lost(timed, alice=alice, reason="expired", heard=heard)

    def test_end__use_does_not_prolong(self, timed, clock, bob):
        clock.pass_seconds(3000)
        assert timed.get("/who/").json()["active"] == bob.pk
        clock.pass_seconds(3000)
        assert timed.get("/who/").status_code == 403

    def test_end__ones_own_data_does_not_expire(self, as_alice, clock, alice):
        as_alice.post(SET, {"user_id": alice.pk})
        clock.pass_seconds(100_000)
        assert as_alice.get("/who/").json()["active"] == alice.pk
        assert open_for(as_alice) == str(alice.pk)

    def test_end__expired_under_atomic_requests(self, timed, clock, bob, monkeypatch):
        """The refusal rolls the transaction of the view back, but not the record of the end."""
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        clock.pass_seconds(3601)
        assert timed.get("/who/").status_code == 403
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (expired).")

    def test_end__expired_under_asgi(self, clock, alice, bob):
        browser = AsyncClient()

        async def drive():
            await browser.aforce_login(alice)
            opened = await browser.post(SET, {"user_id": bob.pk})
            seen = await browser.get("/who/")
            clock.pass_seconds(3601)
            return [opened.status_code, seen.json(), (await browser.get("/who/")).status_code]

        assert async_to_sync(drive)() == [302, {"logged_in": "alice", "active": bob.pk}, 403]
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (expired).")

    def test_end__user_deactivated(self, switched, alice, bob, heard):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        assert_lost(switched, alice=alice, reason="inactive", heard=heard)
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (inactive).")

    def test_end__user_deleted(self, switched, alice, bob, heard):
        User.objects.filter(pk=bob.pk).delete()
        assert_lost(switched, alice=alice, reason="deleted", heard=heard)
        entry = LogEntry.objects.latest("pk")
        assert (entry.object_id, entry.object_repr) == (str(bob.pk), str(bob.pk))
        assert entry.change_message == "Closed this user's data (deleted)."
        assert heard[0]["user"] is None

    def test_end__permission_withdrawn(self, switched, alice, bob, heard):
        User.objects.filter(pk=alice.pk).update(is_superuser=False)
        assert_lost(switched, alice=alice, reason="forbidden", heard=heard)
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (forbidden).")

    def test_end__permission_of_the_project_is_asked_on_every_request(
        self, switched, alice, heard, settings
    ):
        assert switched.get("/who/").status_code == 200
        settings.DSUD_SWITCH_PERMISSION = f"{__name__}.eve_onto_bob"
        assert_lost(switched, alice=alice, reason="forbidden", heard=heard)

    def test_end__log_out(self, switched, alice, bob, heard):
        switched.logout()
        assert [event["reason"] for event in heard] == ["log_out"]
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (log_out).")
        switched.force_login(alice)
        assert switched.get("/who/").json()["active"] == alice.pk

    def test_end__log_in_as_somebody_else(self, switched, eve):
        switched.force_login(eve)
        assert switched.get("/who/").json() == {"logged_in": "eve", "active": eve.pk}

    def test_end__log_in_as_somebody_else_that_keeps_the_session(
        self, request_of, alice, bob, eve, heard
    ):
        request = request_of(alice)
        switch.start(request, user=bob)
        request.user = eve
        user_logged_in.send(User, request=request, user=eve)
        assert switch.SESSION_KEY not in request.session
        assert [(event["actor"], event.get("reason")) for event in heard][1:] == [(alice, "log_in")]

    def test_end__log_in_again_as_the_same_user(self, switched, alice, bob):
        switched.force_login(alice)
        assert open_for(switched) == str(bob.pk)

    def test_end__actor_deactivated(self, switched, alice):
        User.objects.filter(pk=alice.pk).update(is_active=False)
        response = switched.get("/who/")
        assert response.status_code in (200, 403)
        assert b"bob" not in response.content

    def test_end__actor_deleted_while_somebody_else_logs_in(
        self, request_of, alice, bob, eve, heard
    ):
        request = request_of(alice)
        switch.start(request, user=bob)
        alice.delete()
        request.user = eve
        user_logged_in.send(User, request=request, user=eve)
        assert heard[-1] == {"sender": User, "actor": None, "user": bob, "reason": "log_in"}

    @pytest.mark.django_db(transaction=True)
    def test_end__outside_a_transaction(self, request_of, alice, bob, heard):
        request = request_of(alice)
        switch.start(request, user=bob)
        User.objects.filter(pk=bob.pk).update(is_active=False)
        with pytest.raises(NoActiveUser):
            switch.switched_user(request)
        assert heard[-1]["reason"] == "inactive"
        assert log_of(bob)[-1] == ("alice", CHANGE, "Closed this user's data (inactive).")
        audit.record_late_end(request)
        assert len(heard) == 2

    def test_end__inside_a_transaction_that_is_rolled_back(self, request_of, alice, bob, heard):
        """The record of an end survives ATOMIC_REQUESTS, which rolls back what a refusal wrote."""
        request = request_of(alice)
        switch.start(request, user=bob)
        bob.delete()
        with pytest.raises(NoActiveUser):
            switch.switched_user(request)
        assert len(heard) == 1
        audit.record_late_end(request)
        assert [event.get("reason") for event in heard] == [None, "deleted"]
        audit.record_late_end(request)
        assert len(heard) == 2


@pytest.fixture
def request_of():
    def make(user):
        request = RequestFactory().get("/")
        request.session = SessionStore()
        request.user = user
        return request

    return make


class TestSwitchedUser:
    def test_switched_user__no_switch_costs_no_query(
        self, request_of, alice, django_assert_num_queries
    ):
        request = request_of(alice)
        with django_assert_num_queries(0):
            assert switch.switched_user(request) is None

    def test_switched_user__no_session(self, alice):
        request = RequestFactory().get("/")
        request.user = alice
        assert switch.switched_user(request) is None

    def test_switched_user__no_user(self, request_of, alice, bob):
        request = request_of(alice)
        switch.start(request, user=bob)
        del request.user
        assert switch.switched_user(request) is None

    def test_switched_user__loads_the_user_once_a_request(
        self, request_of, alice, bob, django_assert_num_queries
    ):
        request = request_of(alice)
        switch.start(request, user=bob)
        with django_assert_num_queries(1):
            assert switch.switched_user(request) == bob
            assert switch.switched_user(request) == bob

    def test_switched_user__other_actor(self, request_of, alice, bob, eve):
        request = request_of(alice)
        switch.start(request, user=bob)
        request.user = eve
        assert switch.switched_user(request) is None
        request.user = AnonymousUser()
        assert switch.switched_user(request) is None

    def test_switched_user__lost_in_the_middle_stays_lost(self, request_of, alice, bob):
        """The rest of a request must not go on with the actor's own database."""
        request = request_of(alice)
        switch.start(request, user=bob)
        bob.is_active = False
        bob.save()
        message = "You no longer see another user's data: that user has been deactivated."
        for _ in range(2):
            with pytest.raises(NoActiveUser) as caught:
                switch.switched_user(request)
            assert str(caught.value) == message
        assert switch.SESSION_KEY not in request.session

    def test_switched_user__opened_again_in_the_same_request(self, request_of, alice, bob, eve):
        request = request_of(alice)
        switch.start(request, user=bob)
        User.objects.filter(pk=bob.pk).update(is_active=False)
        with pytest.raises(NoActiveUser):
            switch.switched_user(request)
        switch.start(request, user=eve)
        assert switch.switched_user(request) == eve

    def test_switched_user__replaced_in_the_same_request(self, request_of, alice, bob, eve):
        request = request_of(alice)
        switch.start(request, user=bob)
        assert switch.switched_user(request) == bob
        switch.start(request, user=eve)
        assert switch.switched_user(request) == eve
        switch.stop(request)
        assert switch.switched_user(request) is None

    def test_glance__knows_whom_the_request_has_found_last(
        self, request_of, alice, bob, eve, django_assert_num_queries
    ):
        request = request_of(alice)
        activation = UserOfRequest(request)
        assert (activation.key(), activation.glance()) == (str(alice.pk), str(alice.pk))
        switch.start(request, user=bob)
        activation = UserOfRequest(request)
        with django_assert_num_queries(0):
            assert activation.glance() is None
        assert activation.key() == str(bob.pk)
        with django_assert_num_queries(0):
            assert activation.glance() == str(bob.pk)
            switch_ended = dict(request.session)
            request.session.pop(switch.SESSION_KEY)
            assert activation.glance() is None
            request.session.update(switch_ended)
            request.user = eve
            assert activation.glance() is None

    def test_start__refused(self, request_of, eve, bob):
        request = request_of(eve)
        with pytest.raises(PermissionDenied, match=r"^You may not open the data of this user\.$"):
            switch.start(request, user=bob)
        assert switch.SESSION_KEY not in request.session


class TestRecords:
    def test_records__admin_log(self, switched, bob):
        switched.post(UNSET)
        assert log_of(bob) == [
            ("alice", CHANGE, "Opened this user's data."),
            ("alice", CHANGE, "Closed this user's data (asked)."),
        ]
        entry = LogEntry.objects.earliest("pk")
        assert (entry.object_repr, entry.content_type.model_class()) == ("bob", User)
        assert entry.get_edited_object() == bob

    def test_records__signals(self, as_alice, alice, bob, heard):
        as_alice.post(SET, {"user_id": bob.pk})
        as_alice.post(UNSET)
        assert heard == [
            {"sender": User, "actor": alice, "user": bob},
            {"sender": User, "actor": alice, "user": bob, "reason": "asked"},
        ]

    def test_records__log_lines_name_nobody(self, as_alice, bob, caplog):
        caplog.set_level(logging.INFO, logger="dsud")
        as_alice.post(SET, {"user_id": bob.pk})
        as_alice.post(UNSET)
        lines = [record.getMessage() for record in caplog.records if record.name == "dsud"]
        assert lines == [
            "A user opened the data of another user.",
            "A user's look at the data of another user ended: asked.",
        ]

    def test_records__without_the_admin(self, as_alice, bob, heard, monkeypatch):
        monkeypatch.delitem(apps.app_configs, "admin")
        assert as_alice.post(SET, {"user_id": bob.pk}).status_code == 302
        assert log_of(bob) == []
        assert [event["user"] for event in heard] == [bob]

    def test_records__refusal_is_no_switch(self, client, eve, bob, heard):
        client.force_login(eve)
        client.post(SET, {"user_id": bob.pk})
        assert (log_of(bob), heard) == ([], [])


def test_urls__names():
    assert reverse("dsud:set_user") == SET
    assert reverse("dsud:unset_user") == UNSET
    assert reverse("dsud:choose_user") == CHOOSE
