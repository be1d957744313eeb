from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.db.models.signals import post_save
from django.test import TestCase

from recipes.models import Ingredient, Label, Recipe


class RecipeTests(TestCase):
    def setUp(self):
        self.alice = User.objects.create_user("alice", password="secret")
        self.soup = Recipe.objects.create(owner=self.alice, title="Soup", minutes=45)

    def test_recipe_is_its_owners(self):
        recipe = Recipe.objects.get(title="Soup")

        self.assertEqual(recipe, self.soup)
        self.assertEqual(recipe.owner, self.alice)
        self.assertEqual(recipe.get_absolute_url(), f"/{self.soup.pk}/")

    def test_recipes_of_two_people(self):
        bob = User.objects.create_user("bob")
        toast = Recipe.objects.create(owner=bob, title="Toast")
        toast.ingredients.create(name="bread", grams=80)
        Ingredient.objects.create(recipe=toast, name="butter", grams=10)
        toast.labels.set([Label.objects.create(owner=bob, name="quick")])
        Recipe.objects.create(owner=self.alice, title="Bread")

        self.assertEqual([str(recipe) for recipe in self.alice.recipes.all()], ["Bread", "Soup"])
        self.assertEqual([str(recipe) for recipe in bob.recipes.all()], ["Toast"])
        self.assertEqual(
            [str(each) for each in toast.ingredients.all()], ["80 g bread", "10 g butter"]
        )
        self.assertEqual(Label.objects.get(owner=bob).recipes.get(), toast)

    def test_ingredients_add_up(self):
        Ingredient.objects.create(recipe=self.soup, name="pumpkin", grams=800)
        Ingredient.objects.bulk_create(
            Ingredient(recipe=self.soup, name=name, grams=50) for name in ("onion", "butter")
        )
        self.soup.ingredients.filter(name="butter").update(grams=F("grams") * 2)

        recipe = Recipe.objects.annotate(grams=Sum("ingredients__grams")).get()
        self.assertEqual(recipe.grams, 950)

    def test_ingredient_touches_its_recipe(self):
        saved = []

        def note(instance, created, **kwargs):
            saved.append((instance.title, created))

        post_save.connect(note, sender=Recipe)
        self.addCleanup(post_save.disconnect, note, sender=Recipe)
        before = self.soup.changed
        self.soup.ingredients.create(name="pumpkin", grams=800)

        self.soup.refresh_from_db()
        self.assertGreater(self.soup.changed, before)
        self.assertEqual(saved, [("Soup", False)])

    def test_label_of_the_same_name(self):
        Label.objects.create(owner=self.alice, name="winter")
        with self.assertRaises(IntegrityError), transaction.atomic():
            Label.objects.create(owner=self.alice, name="winter")

        label, created = Label.objects.get_or_create(owner=self.alice, name="winter")
        self.assertFalse(created)
        self.soup.labels.add(label)
        self.assertEqual(list(Recipe.objects.filter(labels__name="winter")), [self.soup])

    def test_whoever_leaves_takes_their_recipes(self):
        bob = User.objects.create_user("bob")
        Recipe.objects.create(owner=bob, title="Toast")
        self.alice.delete()

        self.assertEqual([str(recipe) for recipe in Recipe.objects.all()], ["Toast"])


class OneTableForManyTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice")
        cls.soup = Recipe.objects.create(owner=cls.alice, title="Soup", minutes=45)
        cls.bread = Recipe.objects.create(owner=cls.alice, title="Bread", minutes=180)
        Ingredient.objects.create(recipe=cls.bread, name="flour", grams=500)

    def setUp(self):
        self.assertEqual(self.titles(), ["Bread", "Soup"])
        self.assertEqual(self.soup.title, "Soup")

    def titles(self):
        return list(Recipe.objects.values_list("title", flat=True))

    def test_one_is_renamed(self):
        self.soup.title = "Stew"
        self.soup.save()

        self.assertEqual(self.titles(), ["Bread", "Stew"])

    def test_one_is_thrown_away(self):
        self.bread.delete()

        self.assertEqual(self.titles(), ["Soup"])
        self.assertFalse(Ingredient.objects.exists())

    def test_one_is_added(self):
        Recipe.objects.create(owner=self.alice, title="Toast")

        self.assertEqual(self.titles(), ["Bread", "Soup", "Toast"])

    def test_minutes(self):
        for recipe, minutes in ((self.soup, 45), (self.bread, 180)):
            with self.subTest(recipe=recipe):
                self.assertEqual(Recipe.objects.get(pk=recipe.pk).minutes, minutes)
                Recipe.objects.filter(pk=recipe.pk).update(minutes=1)
