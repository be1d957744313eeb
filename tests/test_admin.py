"""Tests of the admin: the users table, the banner, the page that asks whose data to open."""

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.http import HttpResponse
from django.template import engines
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, reverse

from dsud import switch
from dsud.admin import SwitchUserMixin, UserAdmin
from dsud.context import use_user
from tests.notes.models import Note, Tag

User = get_user_model()


class NoteAdmin(admin.ModelAdmin):
    search_fields = ["text"]
    autocomplete_fields = ["tags"]

    def get_urls(self):
        own = [
            path("report/", self.admin_site.admin_view(self.report)),
            path("export/", self.admin_site.admin_view(self.export)),
            path("totals/", self.totals_view()),
        ]
        return own + super().get_urls()

    def report(self, request):
        return HttpResponse(f"{Note.objects.count()} notes")

    def totals_view(self):
        def totals(request):
            return HttpResponse(f"{Note.objects.count()} notes")

        totals.model_admin = self
        return totals

    @admin.options.csrf_protect_m
    def export(self, request):
        return HttpResponse(f"{Note.objects.count()} notes")


class TagAdmin(admin.ModelAdmin):
    ordering = ["pk"]
    search_fields = ["name"]


def make_site(users, *, name="admin"):
    site = admin.AdminSite(name=name)
    site.register(User, users)
    site.register(Group)
    site.register(Note, NoteAdmin)
    site.register(Tag, TagAdmin)
    return site


class Urls:
    """The addresses of a project, for ROOT_URLCONF."""

    def __init__(self, site, *, switching=True):
        mine = [path("admin/", include("dsud.urls", namespace="dsud"))] if switching else []
        self.urlpatterns = [*mine, path("admin/", site.urls)]


class InheritedUserAdmin(UserAdmin):
    list_display = ["username", "switch_user_button"]
    actions = None


class EditableUserAdmin(SwitchUserMixin, admin.ModelAdmin):
    list_display = ["pk", "email", "switch_user_button"]
    list_editable = ["email"]
    actions = None


SITE = make_site(UserAdmin)
urlpatterns = Urls(SITE).urlpatterns

SET = "/admin/switch-user/"
UNSET = "/admin/switch-user/end/"
CHOOSE = "/admin/switch-user/choose/"
USERS = "/admin/auth/user/"
NOTES = "/admin/notes/note/"
BASE_SITE = "admin/base_site.html"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def alice(db):
    return User.objects.create_superuser("alice", password="secret")


@pytest.fixture
def bob(db):
    return User.objects.create_user("bob")


@pytest.fixture
def eve(db):
    """Somebody of the staff who may see users and notes in the admin, but is no superuser."""
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label__in=["auth", "notes"])
    )
    return user


@pytest.fixture
def as_alice(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def as_eve(client, eve):
    client.force_login(eve)
    return client


@pytest.fixture
def switched(as_alice, bob):
    """Alice's browser, with bob's data open."""
    as_alice.post(SET, {"user_id": bob.pk})
    return as_alice


@pytest.fixture
def themed(settings):
    """A project that has followed the guide: its base_site.html extends that of dsud."""
    settings.TEMPLATES = templates_with({BASE_SITE: '{% extends "dsud/base_site.html" %}'})


def templates_with(files):
    engine = engines["django"].engine
    return [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": engine.context_processors,
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [
                            ("django.template.loaders.locmem.Loader", files),
                            "django.template.loaders.app_directories.Loader",
                        ],
                    )
                ],
            },
        }
    ]


class Page(HTMLParser):
    """The forms of a page, with the fields and buttons that a browser finds inside each."""

    def __init__(self, response):
        super().__init__()
        self.forms = []
        self.outside = []
        self._form = None
        self.feed(response.content.decode())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            # As browsers do: a form inside a form is not there.
            if self._form is None:
                self._form = {**attrs, "fields": [], "buttons": []}
                self.forms.append(self._form)
        elif tag == "button":
            (self.outside if self._form is None else self._form["buttons"]).append(attrs)
        elif tag == "input" and self._form is not None:
            self._form["fields"].append(attrs)

    def handle_endtag(self, tag):
        if tag == "form":
            self._form = None

    def form_with(self, **attrs):
        """Return the form and the button that has these attributes."""
        for form in self.forms:
            for button in form["buttons"]:
                if all(button.get(name) == value for name, value in attrs.items()):
                    return form, button
        raise AssertionError(f"no button with {attrs}")

    def press(self, client, **attrs):
        """Send what a browser sends when that button is pressed."""
        form, button = self.form_with(**attrs)
        method = button.get("formmethod") or form.get("method", "get")
        address = button.get("formaction") or form.get("action")
        body = {
            field["name"]: field.get("value", "")
            for field in form["fields"]
            if "name" in field and field.get("type") not in ("submit", "checkbox")
        }
        if "name" in button:
            body[button["name"]] = button["value"]
        return getattr(client, method)(address, body)


def cells(response):
    """Return the text of the "Switch user" column by row."""
    found = re.findall(
        r'<td class="field-switch_user_button">(.*?)</td>', response.content.decode(), re.DOTALL
    )
    return [re.sub(r"<[^>]*>", "", cell) for cell in found]


class TestUsersTable:
    def test_button__superuser(self, as_alice, bob):
        response = as_alice.get(USERS)
        assert response.status_code == 200
        button = (
            '<button type="submit" class="button nowrap" formmethod="post" formnovalidate'
            f' formaction="{SET}" name="user_id" value="{bob.pk}">Switch user</button>'
        )
        assert button in response.content.decode()
        assert cells(response) == ["Switch user", "Switch user"]
        assert '<th scope="col" class="column-switch_user_button">' in response.content.decode()

    def test_button__staff(self, as_eve, bob):
        assert cells(as_eve.get(f"{USERS}?o=1")) == ["–", "Switch user"]

    def test_button__anonymous(self, client, bob):
        assert client.get(USERS).url == f"/admin/login/?next={USERS}"

    def test_button__inactive_user(self, as_alice, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        assert cells(as_alice.get(f"{USERS}?o=1")) == ["Switch user", "–"]

    def test_button__open_already(self, switched):
        assert cells(switched.get(f"{USERS}?o=1")) == ["Switch user", "Open now"]

    def test_button__in_a_popup(self, as_alice):
        assert cells(as_alice.get(f"{USERS}?_popup=1")) == ["–"]

    def test_button__without_a_request(self, bob):
        assert UserAdmin(User, SITE).switch_user_button(bob) == "–"

    @pytest.mark.parametrize("users", [UserAdmin, InheritedUserAdmin, EditableUserAdmin])
    def test_button__pressed(self, alice, bob, users, settings):
        settings.ROOT_URLCONF = Urls(make_site(users))
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)
        page = Page(browser.get(USERS))
        form, _ = page.form_with(value=str(bob.pk), name="user_id")
        assert form["id"] == "changelist-form"
        response = page.press(browser, name="user_id", value=str(bob.pk))
        assert (response.status_code, response.url) == (302, "/admin/")
        assert browser.session[switch.SESSION_KEY]["user"] == str(bob.pk)

    def test_button__enter_in_an_editable_field(self, as_alice, bob, settings):
        """Enter presses the first button of a form, which must not be that of the first user."""
        settings.ROOT_URLCONF = Urls(make_site(EditableUserAdmin))
        page = Page(as_alice.get(USERS))
        form, _ = page.form_with(name="user_id", value=str(bob.pk))
        assert form["buttons"][0] == {"type": "submit", "disabled": None, "hidden": None}

    def test_button__queries_do_not_grow_with_the_rows(self, as_alice):
        def queries():
            with CaptureQueriesContext(connection) as captured:
                assert as_alice.get(USERS).status_code == 200
            return len(captured)

        queries()
        few = queries()
        User.objects.bulk_create(User(username=f"user{number}") for number in range(50))
        assert queries() == few

    def test_button__lost_switch(self, switched, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        response = switched.get(f"{USERS}?o=1")
        assert (response.status_code, cells(response)) == (200, ["Switch user", "–"])

    def test_users_table__without_dsud_urls(self, as_alice, settings):
        settings.ROOT_URLCONF = Urls(SITE, switching=False)
        response = as_alice.get(USERS)
        assert (response.status_code, cells(response)) == (200, ["–"])

    def test_change_page__pressed(self, alice, bob):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)
        page = Page(browser.get(f"{USERS}{bob.pk}/change/"))
        form, button = page.form_with(name="user_id", value=str(bob.pk))
        assert (form["method"], form["action"], button.get("formaction")) == ("post", SET, None)
        assert page.press(browser, name="user_id", value=str(bob.pk)).status_code == 302
        assert browser.session[switch.SESSION_KEY]["user"] == str(bob.pk)
        assert b'name="user_id"' not in browser.get(f"{USERS}{bob.pk}/change/").content

    def test_change_page__saved(self, as_alice, bob):
        body = {
            "username": "robert",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
        }
        assert as_alice.post(f"{USERS}{bob.pk}/change/", body).status_code == 302
        bob.refresh_from_db()
        assert bob.username == "robert"

    def test_change_page__staff(self, as_eve, bob):
        response = as_eve.get(f"{USERS}{bob.pk}/change/")
        assert response.status_code == 200
        assert b'name="user_id"' not in response.content

    def test_change_page__without_dsud_urls(self, as_alice, bob, settings):
        settings.ROOT_URLCONF = Urls(SITE, switching=False)
        response = as_alice.get(f"{USERS}{bob.pk}/change/")
        assert response.status_code == 200
        assert b'name="user_id"' not in response.content

    def test_change_page__template_of_the_project(self, as_alice, bob, settings):
        change_form = (
            '{% extends "admin/change_form.html" %}{% block footer %}Our foot{% endblock %}'
        )
        settings.TEMPLATES = templates_with({"admin/auth/user/change_form.html": change_form})
        content = as_alice.get(f"{USERS}{bob.pk}/change/").content
        assert b"Our foot" in content
        assert b'name="user_id"' in content

    def test_user_admin__other_pages(self, as_alice, bob):
        assert as_alice.get(f"{USERS}add/").status_code == 200
        assert as_alice.get(f"{USERS}{bob.pk}/change/").status_code == 200
        assert as_alice.get(f"{USERS}{bob.pk}/password/").status_code == 200


class TestIndex:
    """The admin's own pages have nothing to do with user models."""

    @pytest.mark.parametrize(
        "address", ["/admin/", "/admin/notes/", "/admin/auth/", "/admin/auth/group/"]
    )
    def test_admin_index__nobody_switched(self, as_alice, address, themed):
        response = as_alice.get(address)
        assert response.status_code == 200
        assert b"dsud-banner" not in response.content

    @pytest.mark.parametrize("address", ["/admin/", "/admin/notes/", USERS])
    def test_admin_index__somebody_switched(self, switched, address):
        assert switched.get(address).status_code == 200

    def test_admin_index__without_dsud_urls(self, as_alice, settings):
        settings.ROOT_URLCONF = Urls(SITE, switching=False)
        assert as_alice.get("/admin/").status_code == 200


@pytest.mark.usefixtures("themed")
class TestBanner:
    def test_banner__switched(self, switched):
        response = switched.get("/admin/")
        text = html.unescape(re.sub(r"<[^>]*>|\s+", " ", response.content.decode()))
        text = " ".join(text.split())
        assert "You see the data of bob ; you are still logged in as alice." in text
        assert 'role="status"' in response.content.decode()

    def test_banner__nobody_switched(self, as_alice):
        assert b"dsud-banner" not in as_alice.get("/admin/").content

    def test_banner__anonymous(self, client):
        response = client.get("/admin/login/")
        assert response.status_code == 200
        assert b"dsud-banner" not in response.content

    def test_banner__own_data(self, as_alice, alice):
        as_alice.post(SET, {"user_id": alice.pk})
        assert b"Your own data is open." in as_alice.get("/admin/").content

    @pytest.mark.parametrize(
        "address",
        [
            "/admin/",
            USERS,
            f"{USERS}add/",
            NOTES,
            f"{NOTES}add/",
            "/admin/password_change/",
            f"{NOTES}add/?_popup=1",
            CHOOSE,
        ],
    )
    def test_banner__on_every_page(self, switched, address):
        assert switched.get(address).content.count(b'id="dsud-banner"') == 1

    def test_banner__way_back(self, alice, bob):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)
        request = RequestFactory().get("/")
        request.session, request.user = browser.session, alice
        switch.start(request, user=bob)
        request.session.save()
        page = Page(browser.get("/admin/"))
        banner = next(form for form in page.forms if form.get("id") == "dsud-banner")
        assert (banner["method"], banner["action"]) == ("post", UNSET)
        assert browser.post(UNSET).status_code == 403
        token = {field["name"]: field["value"] for field in banner["fields"]}
        assert browser.post(UNSET, token).status_code == 302
        assert b"dsud-banner" not in browser.get("/admin/").content

    def test_banner__name_is_escaped(self, switched, bob):
        User.objects.filter(pk=bob.pk).update(username="<script>bob")
        assert b"&lt;script&gt;bob" in switched.get("/admin/").content

    def test_banner__lost_switch(self, switched, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        lost = "You no longer see another user&#x27;s data: that user has been deactivated."
        assert lost in switched.get("/admin/").content.decode()
        assert b"dsud-banner" not in switched.get("/admin/").content

    def test_banner__project_with_branding(self, switched, settings):
        branding = "{% block branding %}<b>Our site</b>{% endblock %}"
        branded = '{% extends "dsud/base_site.html" %}' + branding
        settings.TEMPLATES = templates_with({BASE_SITE: branded})
        content = switched.get("/admin/").content
        assert b"<b>Our site</b>" in content
        assert b'id="dsud-banner"' in content

    def test_base_site__keeps_messages(self, switched, bob):
        response = switched.post(
            f"{USERS}add/", {"username": "new", "usable_password": "false"}, follow=True
        )
        assert b"was added successfully" in response.content
        assert b'id="dsud-banner"' in response.content

    def test_base_site__keeps_what_django_shows(self, as_alice):
        content = as_alice.get("/admin/").content
        assert b'<div id="site-name"><a href="/admin/">Django administration</a></div>' in content

    def test_switch_banner__in_a_page_of_the_project(self, request_of, alice, bob):
        request = request_of(alice)
        switch.start(request, user=bob)
        template = engines["django"].from_string("{% load dsud %}{% switch_banner %}")
        assert "<strong>bob</strong>" in template.render({}, request)
        assert template.render({}).strip() == ""


@pytest.fixture
def request_of():
    def make(user):
        request = RequestFactory().get("/")
        request.session = Client().session
        request.user = user
        return request

    return make


def offered(response):
    """Return what the page that asks whose data to open offers, or None on another page."""
    if response.context is None or "choices" not in response.context:
        return None
    own = response.context["own"]
    return [
        own["name"] if own else None,
        *(choice["name"] for choice in response.context["choices"]),
    ]


PAGES = [
    NOTES,
    f"{NOTES}?q=a&p=1",
    f"{NOTES}add/",
    f"{NOTES}1/change/",
    f"{NOTES}1/delete/",
    f"{NOTES}1/history/",
    f"{NOTES}report/",
    f"{NOTES}export/",
    f"{NOTES}totals/",
]


class TestChooser:
    @pytest.mark.parametrize("address", PAGES)
    def test_chooser__nobody_switched(self, as_alice, bob, address):
        response = as_alice.get(address)
        assert response.status_code == 200
        assert "Whose data do you want to open?" in response.content.decode()
        assert offered(response) == ["alice", "bob"]
        assert response.context["next"] == address

    @pytest.mark.parametrize("address", PAGES[:-1])  # the last one guards itself
    def test_chooser__anonymous(self, client, address):
        response = client.get(address)
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")

    def test_chooser__somebody_outside_the_staff(self, client, bob):
        client.force_login(bob)
        assert client.get(NOTES).url == f"/admin/login/?next={NOTES}"

    def test_chooser__staff(self, as_eve, alice, bob):
        assert offered(as_eve.get(NOTES)) == ["eve"]

    @pytest.mark.parametrize(
        "address", [NOTES, f"{NOTES}add/", f"{NOTES}1/change/", f"{NOTES}1/delete/"]
    )
    def test_chooser__posted(self, as_alice, alice, bob, address):
        response = as_alice.post(address, {"text": "Nobody's", "post": "yes"})
        assert response.status_code == 403
        assert offered(response) == ["alice", "bob"]
        notice = (
            "Nothing was done, because nobody&#x27;s data is open: choose whose, and try again."
        )
        assert notice in response.content.decode()
        with use_user(alice):
            assert not Note.objects.exists()

    def test_chooser__autocomplete(self, as_alice):
        query = {"app_label": "notes", "model_name": "note", "field_name": "tags"}
        assert as_alice.get("/admin/autocomplete/", query).status_code == 403

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"app_label": "nowhere", "model_name": "note", "field_name": "tags"},
            {"app_label": "notes", "model_name": "note", "field_name": "nothing"},
            {"app_label": "notes", "model_name": "note", "field_name": "text"},
        ],
    )
    def test_chooser__autocomplete_of_nothing(self, as_alice, query):
        response = as_alice.get("/admin/autocomplete/", query)
        assert (response.status_code, offered(response)) == (403, None)

    def test_chooser__view_on_site(self, as_alice):
        note = ContentType.objects.get_for_model(Note).pk
        assert offered(as_alice.get(f"/admin/r/{note}/1/")) == ["alice"]

    @pytest.mark.parametrize("key", ["999999", "x"])
    def test_chooser__view_on_site_of_nothing(self, as_alice, key):
        assert as_alice.get(f"/admin/r/{key}/1/").status_code == 404

    def test_chooser__view_on_site_of_a_shared_model(self, as_alice, bob):
        user = ContentType.objects.get_for_model(User).pk
        assert offered(as_alice.get(f"/admin/r/{user}/{bob.pk}/")) is None

    def test_chooser__chosen(self, alice, bob):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)
        page = Page(browser.get(f"{NOTES}add/?text=a%26b"))
        response = page.press(browser, name="user_id", value=str(bob.pk))
        assert (response.status_code, response.url) == (302, f"{NOTES}add/?text=a%26b")
        response = browser.get(response.url)
        assert offered(response) is None
        assert response.context["adminform"].form.initial["text"] == "a&b"

    def test_chooser__own_data(self, as_eve, eve, bob):
        page = Page(as_eve.get(NOTES))
        assert page.press(as_eve, name="user_id", value=str(eve.pk)).url == NOTES
        assert offered(as_eve.get(NOTES)) is None

    def test_chooser__lost_switch(self, switched, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        response = switched.get(NOTES)
        assert response.status_code == 403
        assert offered(response) == ["alice"]
        assert response.context["notice"] == (
            "You no longer see another user's data: that user has been deactivated."
        )
        assert switched.get(NOTES).status_code == 200

    def test_chooser__inactive_users_are_not_offered(self, as_alice, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        assert offered(as_alice.get(NOTES)) == ["alice"]

    def test_chooser__fifty_at_most(self, as_alice):
        User.objects.bulk_create(User(username=f"user{number:03}") for number in range(60))
        response = as_alice.get(NOTES)
        assert offered(response) == ["alice", *(f"user{number:03}" for number in range(50))]
        assert "The first 50 users are listed" in response.content.decode()

    def test_chooser__search(self, as_alice, bob, eve):
        page = Page(as_alice.get(f"{NOTES}?p=2"))
        form = next(form for form in page.forms if form.get("role") == "search")
        hidden = {field["name"]: field["value"] for field in form["fields"] if "name" in field}
        assert (form["method"], form["action"]) == ("get", CHOOSE)
        response = as_alice.get(form["action"], {**hidden, "q": "OB"})
        assert offered(response) == ["alice", "bob"]
        assert (
            Page(response).press(as_alice, name="user_id", value=str(bob.pk)).url == f"{NOTES}?p=2"
        )

    @pytest.mark.parametrize("search", ["nobody", "'", "%", "_", "\0\0nobody"])
    def test_chooser__search_finds_nobody(self, as_alice, bob, search):
        response = as_alice.get(CHOOSE, {"q": search})
        assert offered(response) == ["alice"]
        assert "No user found." in response.content.decode()

    def test_chooser__search_is_escaped(self, as_alice):
        response = as_alice.get(CHOOSE, {"q": '"><script>', "next": '/"><script>'})
        assert b'<script>"' not in response.content
        assert b'"><script>' not in response.content

    def test_chooser__permission_that_refuses_nearly_everybody(self, as_alice, settings):
        settings.DSUD_SWITCH_PERMISSION = f"{__name__}.only_last"
        users = User.objects.bulk_create(User(username=f"user{n:04}") for n in range(600))
        assert offered(as_alice.get(CHOOSE)) == ["alice"]
        assert offered(as_alice.get(CHOOSE, {"q": users[-1].username})) == ["alice", "user0599"]

    @pytest.mark.parametrize("hostile", ["https://evil.example/", "//evil.example", "javascript:x"])
    def test_choose_user__hostile_next(self, as_alice, hostile):
        assert as_alice.get(CHOOSE, {"next": hostile}).context["next"] == "/admin/"

    def test_choose_user__posted(self, as_alice):
        assert as_alice.post(CHOOSE).status_code == 405

    def test_choose_user__anonymous(self, client, db):
        assert client.get(f"{CHOOSE}?q=a").url == f"/admin/login/?next={CHOOSE}%3Fq%3Da"

    def test_choose_user__while_somebody_is_open(self, switched):
        assert offered(switched.get(CHOOSE)) == ["alice", "bob"]

    def test_choose_user__without_the_admin(self, as_alice, monkeypatch):
        monkeypatch.delitem(apps.app_configs, "admin")
        assert as_alice.get(CHOOSE).status_code == 404

    def test_chooser__never_cached(self, as_alice):
        assert "no-store" in as_alice.get(NOTES)["Cache-Control"]

    def test_chooser__without_dsud_urls(self, as_alice, settings):
        settings.ROOT_URLCONF = Urls(SITE, switching=False)
        assert offered(as_alice.get(NOTES)) is None

    def test_chooser__site_open_to_everybody(self, client, alice, bob, settings):
        class OpenSite(admin.AdminSite):
            def has_permission(self, request):
                return request.user.is_active

        open_site = OpenSite()
        open_site.register(Note, NoteAdmin)
        settings.ROOT_URLCONF = Urls(open_site)
        client.force_login(bob)
        assert offered(client.get(NOTES)) == [None]

    def test_chooser__site_of_the_project(self, as_alice, bob, settings):
        settings.ROOT_URLCONF = Urls(make_site(UserAdmin, name="office"))
        assert offered(as_alice.get(NOTES)) == ["alice", "bob"]
        assert offered(as_alice.get(CHOOSE)) == ["alice", "bob"]


def only_last(*, actor, user):
    return user.username == "user0599" or user == actor


class TestRows:
    @pytest.fixture
    def notes(self, alice, bob):
        with use_user(alice):
            Note.objects.create(text="Of alice")
        with use_user(bob):
            Note.objects.create(text="Of bob")

    def test_changelist__switched(self, switched, notes):
        content = switched.get(NOTES).content
        assert b"Of bob" in content
        assert b"Of alice" not in content

    def test_changelist__own(self, as_alice, alice, notes):
        as_alice.post(SET, {"user_id": alice.pk})
        content = as_alice.get(NOTES).content
        assert b"Of alice" in content
        assert b"Of bob" not in content

    def test_add__switched(self, switched, alice, bob):
        with use_user(bob):
            tag = Tag.objects.create(name="blue")
        body = {"text": "Written by alice", "tags": [tag.pk]}
        assert switched.post(f"{NOTES}add/", body).status_code == 302
        with use_user(bob):
            assert [note.text for note in Note.objects.filter(tags=tag)] == ["Written by alice"]
        with use_user(alice):
            assert not Note.objects.exists()
        entry = LogEntry.objects.using("default").latest("pk")
        assert (entry.user, entry.object_repr) == (alice, "Written by alice")

    def test_autocomplete__switched(self, switched, bob):
        with use_user(bob):
            tag = Tag.objects.create(name="blue")
        query = {"app_label": "notes", "model_name": "note", "field_name": "tags", "term": "bl"}
        found = switched.get("/admin/autocomplete/", query).json()
        assert [result["id"] for result in found["results"]] == [str(tag.pk)]

    def test_delete_and_history__switched(self, switched, bob):
        with use_user(bob):
            note = Note.objects.create(text="Of bob")
        assert switched.get(f"{NOTES}{note.pk}/history/").status_code == 200
        assert switched.get(f"{NOTES}{note.pk}/delete/").status_code == 200
        assert switched.post(f"{NOTES}{note.pk}/delete/", {"post": "yes"}).status_code == 302
        with use_user(bob):
            assert not Note.objects.exists()
        assert LogEntry.objects.latest("pk").is_deletion()

    def test_action__switched(self, switched, bob):
        with use_user(bob):
            note = Note.objects.create(text="Of bob")
        body = {"action": "delete_selected", "_selected_action": [note.pk], "post": "yes"}
        assert switched.post(NOTES, body).status_code == 302
        with use_user(bob):
            assert not Note.objects.exists()

    @pytest.mark.parametrize("address", ["report/", "export/", "totals/"])
    def test_view_of_the_project__switched(self, switched, bob, notes, address):
        assert switched.get(f"{NOTES}{address}").content == b"1 notes"


def test_urls__do_not_hide_pages_of_the_admin():
    """The registry's app is called dsud too, so its pages are under dsud/."""
    for name in ("set_user", "unset_user", "choose_user"):
        assert not reverse(f"dsud:{name}").startswith("/admin/dsud/")


PROJECT = """
import sys, uuid
from pathlib import Path
import django
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.urls import include, path

settings.configure(
    BASE_DIR=Path(__file__).parent,
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF="urls",
    AUTH_USER_MODEL="people.Person",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.sessions", "django.contrib.messages", "dsud", "people", "tests.notes",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "dsud.middleware.DatabaseSwitchMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }],
    STATIC_URL="static/",
    DATABASES={"default": {
        "ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "default.sqlite3",
    }},
    DATABASE_ROUTERS=["dsud.router.UserSpecificDatabaseRouter"],
    DSUD_APPS=["notes"],
)
django.setup()
call_command("check")
call_command("migrate", run_syncdb=True, verbosity=0)

from django.contrib.admin.models import LogEntry
from django.test import Client
from django.test.utils import setup_test_environment
from dsud import use_user
from people.models import Person
from tests.notes.models import Note
from tests.test_admin import Page, cells, offered

setup_test_environment()
keys = KEYS
alice = Person.objects.create(pk=keys[0], email="alice@site.example", is_staff=True, is_superuser=True)
people = [Person.objects.create(pk=key, email=f"{number}@site.example") for number, key in enumerate(keys[1:])]
browser = Client(enforce_csrf_checks=True)
browser.force_login(alice)

def token():
    return Page(browser.get("/admin/people/person/")).forms[0]["fields"][0]["value"]

def stop():
    answer = browser.post("/admin/switch-user/end/", {"csrfmiddlewaretoken": token()})
    assert answer.status_code == 302

for person in people:
    with use_user(person):
        Note.objects.create(text=f"Of {person.pk!r}")
    table = browser.get("/admin/people/person/")
    assert table.status_code == 200, table
    assert cells(table).count("Switch user") >= len(people), cells(table)
    assert Page(table).press(browser, name="user_id", value=str(person.pk)).status_code == 302
    page = browser.get("/admin/notes/note/")
    assert offered(page) is None
    assert [note.text for note in page.context["cl"].result_list] == [f"Of {person.pk!r}"]
    assert LogEntry.objects.latest("pk").get_edited_object() == person
    assert browser.get("/admin/").status_code == 200
    stop()
    asked = browser.get("/admin/notes/note/")
    assert offered(asked)[0] == "alice@site.example"
    chosen = Page(asked).press(browser, name="user_id", value=str(person.pk))
    assert chosen.url == "/admin/notes/note/", chosen
    stop()
for wrong in ["nobody", "", "a/", "' OR 1=1 --", str(uuid.uuid4())]:
    body = {"csrfmiddlewaretoken": token(), "user_id": wrong}
    answer = browser.post("/admin/switch-user/", body)
    assert answer.status_code == 403, (wrong, answer)
sys.stdout.write("fine")
"""

URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", include("dsud.urls", namespace="dsud")),
    path("admin/", admin.site.urls),
]
"""

MODELS = """
import uuid
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

class PersonManager(BaseUserManager):
    pass

class Person(AbstractBaseUser, PermissionsMixin):
    ident = PRIMARY_KEY
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    objects = PersonManager()
    USERNAME_FIELD = "email"
"""

ADMIN = """
from django.contrib import admin
from dsud.admin import SwitchUserMixin
from tests.notes.models import Note
from .models import Person

@admin.register(Person)
class PersonAdmin(SwitchUserMixin, admin.ModelAdmin):
    list_display = ["email", "switch_user_button"]
"""

KEYS = {
    "models.UUIDField(primary_key=True, default=uuid.uuid4)": "[uuid.UUID(int=n) for n in (1, 2, 3)]",
    "models.CharField(primary_key=True, max_length=40)": [
        "alice",
        "a/b",
        "o'neil",
        '"><b>',
        "..",
        "ünï côde&amp;",
    ],
    "models.BigAutoField(primary_key=True)": [1, 2],
}


@pytest.mark.urls("tests.urls")
@pytest.mark.parametrize("primary_key", KEYS)
def test_custom_user_model__other_primary_keys(tmp_path, primary_key):
    """A user model without a username, in a project of its own with ModelAdmin and the mixin."""
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "__init__.py").touch()
    (tmp_path / "people" / "models.py").write_text(MODELS.replace("PRIMARY_KEY", primary_key))
    (tmp_path / "people" / "admin.py").write_text(ADMIN)
    (tmp_path / "urls.py").write_text(URLS)
    script = tmp_path / "project.py"
    script.write_text(PROJECT.replace("KEYS", str(KEYS[primary_key])), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("fine")
