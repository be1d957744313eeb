"""Who sees what over HTTP, driven from outside of every block."""

import urllib.request

from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, LiveServerTestCase, RequestFactory, TestCase, tag

from dsud import use_user
from dsud.exceptions import NoActiveUser
from dsud.middleware import DatabaseSwitchMiddleware
from recipes.models import Recipe


class TwoPeopleTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice, cls.bob = (User.objects.create_user(name) for name in ("alice", "bob"))
        for user, title in ((cls.alice, "Soup"), (cls.bob, "Bread")):
            with use_user(user):
                Recipe.objects.create(pk=1, title=title, owner=user)

    def test_one_address_for_two(self):
        for user, title in ((self.alice, "Soup"), (self.bob, "Bread"), (self.alice, "Soup")):
            self.client.force_login(user)
            self.assertContains(self.client.get("/1/"), title)

    def test_request_is_its_own_users(self):
        self.client.force_login(self.alice)
        with use_user(self.bob):
            self.assertContains(self.client.get("/"), "Soup")
            self.assertEqual(Recipe.objects.get().title, "Bread")

    def test_stream_is_its_own_users(self):
        self.client.force_login(self.alice)
        with use_user(self.bob):
            response = self.client.get("/export/")
            self.assertEqual(response.getvalue(), b"Soup,30\n")

    def test_stranger_sees_nobodys(self):
        def view(request):
            return list(Recipe.objects.all())

        request = RequestFactory().get("/")
        request.user = AnonymousUser()
        with self.assertRaises(NoActiveUser):
            DatabaseSwitchMiddleware(view)(request)


@tag("slow")
class BrowsersTests(LiveServerTestCase):
    serialized_rollback = True

    def test_two_by_turns(self):
        names = ("alice", "bob")
        for name in names:
            with use_user(user := User.objects.create_user(name)):
                Recipe.objects.create(pk=1, title=f"{name}’s soup", owner=user)
        sessions = {name: self.session_of(name) for name in names}

        for name in names * 3:
            cookie = {"Cookie": f"sessionid={sessions[name]}"}
            request = urllib.request.Request(f"{self.live_server_url}/1/", headers=cookie)
            with urllib.request.urlopen(request, timeout=20) as response:
                self.assertIn(f"{name}’s soup", response.read().decode())

    def session_of(self, name):
        client = Client()
        client.force_login(User.objects.get(username=name))
        return client.cookies["sessionid"].value
