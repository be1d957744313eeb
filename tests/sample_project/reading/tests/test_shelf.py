from django.contrib.auth.models import User
from django.test import TestCase, TransactionTestCase

from library.models import Book
from reading.models import Reading


class ShelfTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice")
        cls.emma, _ = Book.objects.get_or_create(title="Emma", defaults={"pages": 474})
        cls.reading = Reading.objects.create(owner=cls.alice, book=cls.emma, page=237)

    def test_percent(self):
        reading = Reading.objects.get(owner=self.alice)

        self.assertEqual(reading.percent, 50)
        self.assertEqual(str(reading), "Emma, page 237")

    async def test_page_is_turned(self):
        response = await self.async_client.get("/reading/")
        self.assertEqual(response.status_code, 403)

        await self.async_client.aforce_login(self.alice)
        response = await self.async_client.post(f"/reading/{self.reading.pk}/turn/")
        self.assertEqual(response.json(), {"page": 238})

        reading = await Reading.objects.aget(owner=self.alice)
        self.assertEqual(reading.page, 238)
        response = await self.async_client.get("/reading/")
        self.assertEqual(response.json(), {"pages": [238]})


class LibraryTests(TransactionTestCase):
    serialized_rollback = True

    def test_books_of_the_house(self):
        alice = User.objects.create_user("alice")
        for book in Book.objects.all():
            Reading.objects.create(owner=alice, book=book)

        self.assertEqual(alice.readings.count(), 3)
        Book.objects.update(pages=1)

    def test_books_of_the_house_again(self):
        books = list(Book.objects.values_list("title", "pages"))
        self.assertEqual(books, [("Emma", 474), ("Moby Dick", 635), ("Walden", 352)])
        alice = User.objects.create_user("alice")
        self.assertFalse(alice.readings.exists())
