import http.cookiejar
import re
import urllib.parse
import urllib.request

from django.contrib.auth.models import User
from django.test import LiveServerTestCase, tag

from recipes.models import Recipe


@tag("slow")
class BrowserTests(LiveServerTestCase):
    serialized_rollback = True

    def setUp(self):
        self.alice = User.objects.create_user("alice", password="secret")
        Recipe.objects.create(owner=self.alice, title="Soup")

    def test_session_of_somebody_who_is_logged_in(self):
        self.client.force_login(self.alice)
        cookie = f"sessionid={self.client.cookies['sessionid'].value}"
        request = urllib.request.Request(f"{self.live_server_url}/", headers={"Cookie": cookie})
        with urllib.request.urlopen(request, timeout=20) as response:
            self.assertIn("Soup", response.read().decode())

    def test_log_in_and_write(self):
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.browser = urllib.request.build_opener(cookies)
        self.submit("/log-in/", username="alice", password="secret")
        page = self.submit("/new/", title="Stew", minutes=90)

        self.assertIn("90 minutes, by alice", page)
        self.assertEqual(Recipe.objects.filter(owner=self.alice).count(), 2)

    def submit(self, address, **form):
        with self.browser.open(f"{self.live_server_url}{address}", timeout=20) as response:
            token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', response.read().decode())[1]
        data = urllib.parse.urlencode({**form, "csrfmiddlewaretoken": token}).encode()
        with self.browser.open(f"{self.live_server_url}{address}", data, timeout=20) as response:
            return response.read().decode()
