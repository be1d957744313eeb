"""One person's rows are out of another's reach, and the household's real files out of every test's."""

from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import TestCase, override_settings, tag

from dsud import use_user
from dsud.exceptions import InvalidEngine, WrongUser
from recipes.models import Recipe

PRODUCTION = Path(settings.BASE_DIR) / "user_databases"


class IsolationTests(TestCase):
    def setUp(self):
        self.alice, self.bob = (User.objects.create_user(name) for name in ("alice", "bob"))

    def test_row_of_another(self):
        with use_user(self.alice):
            soup = Recipe.objects.create(title="Soup", owner=self.alice)
        with use_user(self.bob), self.assertRaises(WrongUser):
            soup.save()

        with use_user(self.bob):
            self.assertFalse(Recipe.objects.exists())

    @tag("prepared")
    def test_row_goes_to_its_owner(self):
        soup = Recipe.objects.create(title="Soup", owner=self.alice)
        bread = Recipe.objects.create(title="Bread", owner=self.bob)
        bread.ingredients.create(name="flour", grams=500)

        for user, recipe in ((self.alice, soup), (self.bob, bread)):
            with use_user(user):
                self.assertEqual(Recipe.objects.get(), recipe)

    @tag("prepared")
    def test_active_user_comes_before_all_others(self):
        self.client.force_login(self.alice)
        with use_user(self.bob):
            Recipe.objects.create(title="Bread", owner=self.bob)

        self.assertFalse(Recipe.objects.exists())
        self.client.force_login(self.bob)
        self.assertEqual(Recipe.objects.get().title, "Bread")


class ProductionTests(TestCase):
    def test_database_is_elsewhere(self):
        alice = User.objects.create_user("alice")
        with use_user(alice):
            Recipe.objects.create(title="Soup", owner=alice)
            self.assertNotIn(
                str(PRODUCTION), str(connections[f"user_{alice.pk}"].settings_dict["NAME"])
            )

        self.assert_untouched()

    def test_real_files_cannot_be_opened(self):
        alice = User.objects.create_user("alice")
        location = {"ENGINE": "dsud.engines.sqlite", "LOCATION": PRODUCTION, "OPTIONS": {}}
        with (
            override_settings(USER_DATABASES={"default": location}),
            use_user(alice),
            self.assertRaises(InvalidEngine),
        ):
            Recipe.objects.exists()

        self.assert_untouched()

    def assert_untouched(self):
        found = [path.name for path in PRODUCTION.glob("*")]
        self.assertLessEqual(set(found), {"canary"})
