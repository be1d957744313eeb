"""What a test finds, and what it leaves behind: an empty house."""

from django.contrib.auth.models import User
from django.test import TestCase, TransactionTestCase, tag

from dsud import use_user
from recipes.models import Course, Recipe


def titles():
    return [recipe.title for recipe in Recipe.objects.all()]


class EmptyKitchen:
    """Every test makes the same two people; the first has the same key each time."""

    def test_alice_comes_first(self):
        self.cook("alice", "Soup")
        self.cook("bob", "Bread")

    def test_bob_comes_first(self):
        self.cook("bob", "Bread")
        self.cook("alice", "Soup")

    def cook(self, name, title):
        with use_user(user := User.objects.create_user(name)):
            self.assertEqual(titles(), [])
            course = Course.objects.get(name="main course")
            Recipe.objects.create(title=title, owner=user, course=course)
            Course.objects.exclude(pk=course.pk).delete()
            self.assertEqual(titles(), [title])


class RolledBackTests(EmptyKitchen, TestCase):
    pass


class CommittedTests(EmptyKitchen, TransactionTestCase):
    serialized_rollback = True


class Enrolled:
    """The people of the settings are always there, and their databases are always empty."""

    def test_first_comes_in(self):
        self.cook(1337, 1338)

    def test_second_comes_in(self):
        self.cook(1338, 1337)

    def cook(self, pk, other):
        self.assertEqual(User.objects.get(pk=pk).username, f"user_{pk}")
        with use_user(pk):
            self.assertEqual(titles(), [])
            self.assertEqual(Course.objects.count(), 3)
            Recipe.objects.create(title="Soup", owner_id=pk)
            Course.objects.all().delete()
        with use_user(other):
            self.assertEqual((titles(), Course.objects.count()), ([], 3))


@tag("prepared")
class EnrolledRolledBackTests(Enrolled, TestCase):
    def test_log_in(self):
        self.assertTrue(self.client.login(username="user_1337", password="secret"))
        self.assertContains(self.client.get("/"), "Nothing here yet.")


@tag("prepared")
class EnrolledCommittedTests(Enrolled, TransactionTestCase):
    serialized_rollback = True


class SharedKitchenTests(TestCase):
    """Rows of the class are there for each test as they were, whoever changed them before."""

    @classmethod
    def setUpTestData(cls):
        cls.alice, cls.bob = (User.objects.create_user(name) for name in ("alice", "bob"))
        with use_user(cls.alice):
            cls.soup = Recipe.objects.create(title="Soup", owner=cls.alice)
        with use_user(cls.bob):
            cls.bread = Recipe.objects.create(title="Bread", owner=cls.bob)
            cls.bread.ingredients.create(name="flour", grams=500)

    def setUp(self):
        self.assertEqual(
            (self.titles_of(self.alice), self.titles_of(self.bob)), (["Soup"], ["Bread"])
        )

    def titles_of(self, user):
        with use_user(user):
            return titles()

    def test_alice_renames(self):
        with use_user(self.alice):
            self.soup.title = "Stew"
            self.soup.save()

        self.assertEqual(self.titles_of(self.alice), ["Stew"])

    def test_bob_throws_away(self):
        with use_user(self.bob):
            self.bread.delete()

        self.assertEqual(self.titles_of(self.bob), [])

    def test_both_leave(self):
        self.alice.delete()
        self.bob.delete()

        self.assertFalse(User.objects.filter(username__in=["alice", "bob"]).exists())
