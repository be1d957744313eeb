from io import StringIO

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import TestCase

from recipes.models import Recipe


class MenuTests(TestCase):
    fixtures = ["kitchen"]

    def menu(self, *arguments):
        output = StringIO()
        call_command("menu", *arguments, stdout=output)
        return output.getvalue().splitlines()

    def test_menu_of_one(self):
        self.assertEqual(self.menu("alice"), ["Toast"])

        alice = User.objects.get(username="alice")
        alice.recipes.filter(title="Soup").update(minutes=30)
        self.assertEqual(self.menu("alice"), ["Soup", "Toast"])

    def test_menu_of_everybody(self):
        Recipe.objects.create(owner_id=1, title="Muesli", minutes=3)

        self.assertEqual(self.menu(), ["alice: Muesli", "alice: Toast", "bob: Pancakes"])

        self.client.force_login(User.objects.get(username="bob"))
        self.assertContains(self.client.get("/"), "Pancakes")
