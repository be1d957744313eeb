"""One transaction, one count of queries, several threads."""

import threading

from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import TestCase, TransactionTestCase, tag

from dsud import current_user_id, use_user
from dsud.testing import UserDatabaseTestMixin, assert_isolated
from library.models import Book
from reading.models import Reading
from recipes.models import Recipe


class CountingTests(UserDatabaseTestMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice, cls.bob = (User.objects.create_user(name) for name in ("alice", "bob"))

    def test_queries_of_one(self):
        with self.assertNumUserQueries(1, self.alice), self.assertNumUserQueries(2, self.bob):
            for user in (self.alice, self.bob, self.bob):
                with use_user(user):
                    Recipe.objects.create(title="Soup", owner=user)

    @tag("prepared")
    def test_queries_of_all(self):
        with self.assertNumQueries(3):
            Book.objects.count()
            for user in (self.alice, self.bob):
                with use_user(user):
                    Recipe.objects.count()

    def test_queries_of_an_alias(self):
        with self.assertNumQueries(1, using=f"user_{self.bob.pk}"):
            for user in (self.alice, self.bob):
                with use_user(user):
                    Recipe.objects.count()

    def test_models_are_isolated(self):
        emma, _ = Book.objects.get_or_create(title="Emma", defaults={"pages": 474})

        def cook(title):
            return Recipe.objects.create(owner_id=current_user_id(), title=title)

        def read(_):
            return Reading.objects.create(owner_id=current_user_id(), book=emma)

        assert_isolated(Recipe, create=cook, views=["/", "/{pk}/", "/{pk}/edit/", "/export/"])
        assert_isolated(Reading, create=read)


class BurntError(Exception):
    pass


class TogetherTests(TransactionTestCase):
    serialized_rollback = True

    def setUp(self):
        self.alice, self.bob = (User.objects.create_user(name) for name in ("alice", "bob"))

    def test_failure_takes_everything_back(self):
        calls = []
        with use_user(self.alice), self.assertRaises(BurntError), transaction.atomic():
            Recipe.objects.create(title="Soup", owner=self.alice)
            Book.objects.create(title="Soups", pages=90)
            transaction.on_commit(lambda: calls.append(current_user_id()))
            raise BurntError

        with use_user(self.alice):
            self.assertFalse(Recipe.objects.exists())
        self.assertFalse(Book.objects.filter(title="Soups").exists())
        self.assertEqual(calls, [])

    def test_two_threads_for_two_people(self):
        found = {}
        threads = [
            threading.Thread(target=self.cook, args=(user, found))
            for user in (self.alice, self.bob)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        self.assertEqual(found, {"alice": ["alice"] * 5, "bob": ["bob"] * 5})

    def cook(self, user, found):
        try:
            with use_user(user):
                for _ in range(5):
                    Recipe.objects.create(title=user.username, owner=user)
                found[user.username] = list(Recipe.objects.values_list("title", flat=True))
        finally:
            connection.close()
            connections.close_all()
