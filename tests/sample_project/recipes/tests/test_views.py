from django.contrib.auth.models import User
from django.core import mail
from django.test import RequestFactory, TestCase
from django.urls import reverse

from recipes.models import Recipe
from recipes.views import recipe_list


class PageTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice", password="secret")
        cls.bob = User.objects.create_user("bob", password="secret")
        cls.soup = Recipe.objects.create(owner=cls.alice, title="Soup", minutes=45)
        cls.soup.ingredients.create(name="pumpkin", grams=800)
        cls.bread = Recipe.objects.create(owner=cls.alice, title="Bread", minutes=180)

    def test_list_shows_ones_own(self):
        self.client.force_login(self.alice)
        self.assertContains(self.client.get("/"), "Soup</a>, 800 g pumpkin")
        self.assertNotContains(self.client.get("/?q=bread"), "Soup")

        self.client.force_login(self.bob)
        self.assertContains(self.client.get("/"), "Nothing here yet.")

    def test_list_makes_few_queries(self):
        self.client.force_login(self.alice)
        for number in range(5):
            Recipe.objects.create(owner=self.alice, title=f"Soup {number}")
        with self.assertNumQueries(4):  # Session, user, recipes, ingredients.
            self.client.get("/")

    def test_detail_is_for_its_owner(self):
        self.assertTrue(self.client.login(username="alice", password="secret"))
        response = self.client.get(self.soup.get_absolute_url())
        self.assertContains(response, "45 minutes, by alice")
        self.assertEqual(response.context["recipe"], self.soup)

        self.client.login(username="bob", password="secret")
        self.assertEqual(self.client.get(self.soup.get_absolute_url()).status_code, 404)

    def test_new(self):
        self.client.force_login(self.alice)
        response = self.client.post(reverse("recipes:new"), {"title": "Stew", "minutes": 601})
        self.assertFormError(response.context["form"], "minutes", "Nobody waits that long.")
        self.assertFalse(Recipe.objects.filter(title="Stew").exists())

        response = self.client.post(reverse("recipes:new"), {"title": "Stew", "minutes": 90})
        stew = Recipe.objects.get(title="Stew")
        self.assertRedirects(response, stew.get_absolute_url())
        self.assertEqual(stew.owner, self.alice)
        self.assertEqual(Recipe.objects.filter(owner_id=self.alice.pk).count(), 3)

    def test_edit(self):
        winter = self.alice.labels.create(name="winter")
        self.client.force_login(self.alice)
        form = {"title": "Stew", "minutes": 90, "labels": [winter.pk]}
        address = reverse("recipes:edit", args=[self.soup.pk])
        response = self.client.post(address, form, follow=True)

        self.assertContains(response, "“Stew” is saved.")
        self.soup.refresh_from_db()
        self.assertEqual(self.soup.minutes, 90)
        self.assertEqual(list(self.soup.labels.all()), [winter])

    def test_delete(self):
        self.client.force_login(self.alice)
        address = reverse("recipes:delete", args=[self.soup.pk])

        self.assertEqual(self.client.get(address).status_code, 405)
        self.assertRedirects(self.client.post(address), "/")
        self.assertEqual(list(Recipe.objects.all()), [self.bread])

    def test_send_mails_once_it_is_committed(self):
        self.client.force_login(self.alice)
        address = reverse("recipes:send", args=[self.soup.pk])
        with self.captureOnCommitCallbacks() as callbacks:
            self.client.post(address)
        self.assertEqual((len(callbacks), mail.outbox), (1, []))

        callbacks[0]()
        self.assertEqual(mail.outbox[0].body, "800 g pumpkin")
        self.assertEqual(self.soup.labels.get().name, "sent")

    def test_sign_up_welcomes(self):
        form = {"username": "carol", "password1": "quiet-river", "password2": "quiet-river"}
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            response = self.client.post(reverse("recipes:sign_up"), form, follow=True)

        self.assertContains(response, "Nothing here yet.")
        self.assertEqual(len(callbacks), 1)
        self.assertEqual(mail.outbox[0].body, "Dear carol")

    def test_export(self):
        self.client.force_login(self.alice)
        response = self.client.get(reverse("recipes:export"))

        self.assertEqual(response.getvalue(), b"Bread,180\nSoup,45\n")

    def test_strangers_are_sent_to_the_log_in(self):
        for name in ("list", "new", "export"):
            with self.subTest(name):
                address = reverse(f"recipes:{name}")
                self.assertRedirects(self.client.get(address), f"/log-in/?next={address}")

    def test_view_without_a_site_around_it(self):
        request = RequestFactory().get("/", {"q": "sou"})
        request.user = self.alice
        response = recipe_list(request)

        self.assertIn(b"Soup", response.content)
        self.assertNotIn(b"Bread", response.content)


class AdminTests(TestCase):
    def test_recipe_with_ingredients(self):
        root = User.objects.create_superuser("root")
        self.client.force_login(root)
        form = {
            "owner": root.pk,
            "title": "Soup",
            "minutes": 45,
            "ingredients-TOTAL_FORMS": 1,
            "ingredients-INITIAL_FORMS": 0,
            "ingredients-0-name": "pumpkin",
            "ingredients-0-grams": 800,
        }
        response = self.client.post("/admin/recipes/recipe/add/", form, follow=True)

        self.assertContains(response, "was added successfully")
        self.assertContains(response, "1 recipe")
        self.assertEqual(Recipe.objects.get().ingredients.get().name, "pumpkin")
