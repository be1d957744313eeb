from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import send_mail
from django.db import transaction
from django.test import TransactionTestCase

from library.models import Book
from recipes.models import Recipe


class BurntError(Exception):
    pass


class TransactionTests(TransactionTestCase):
    serialized_rollback = True

    def setUp(self):
        self.alice = User.objects.create_user("alice")
        self.assertFalse(Recipe.objects.exists())

    def test_failure_takes_everything_back(self):
        bob = User.objects.create_user("bob")
        with self.assertRaises(BurntError), transaction.atomic():
            Recipe.objects.create(owner=self.alice, title="Soup")
            Recipe.objects.create(owner=bob, title="Toast")
            Book.objects.create(title="Soups", pages=90)
            transaction.on_commit(lambda: send_mail("Ready", "", None, ["kitchen@example.com"]))
            raise BurntError

        self.assertFalse(self.alice.recipes.exists())
        self.assertFalse(bob.recipes.exists())
        self.assertFalse(Book.objects.filter(title="Soups").exists())
        self.assertEqual(mail.outbox, [])

    def test_success_keeps_what_did_not_fail(self):
        with transaction.atomic():
            soup = Recipe.objects.create(owner=self.alice, title="Soup")
            with self.assertRaises(BurntError), transaction.atomic():
                soup.ingredients.create(name="salt", grams=800)
                raise BurntError
            transaction.on_commit(lambda: send_mail("Ready", "", None, ["kitchen@example.com"]))

        self.assertEqual(Recipe.objects.get(), soup)
        self.assertFalse(soup.ingredients.exists())
        self.assertEqual(len(mail.outbox), 1)
