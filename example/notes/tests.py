"""What people see of their own notes, and that they see nothing of anybody else's."""

from django.contrib.auth.models import User
from django.test import TestCase, tag
from django.urls import reverse


class NotesTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = User.objects.create_user("alice")
        cls.bob = User.objects.create_user("bob")

    def write(self, user: User, title: str, *, body: str = "", tags: str = "") -> None:
        self.client.force_login(user)
        note = {"title": title, "body": body, "tag_names": tags}
        self.assertRedirects(self.client.post("/notes/new/", note), "/notes/1/")

    def titles(self, user: User, **query: str) -> list[str]:
        self.client.force_login(user)
        response = self.client.get("/", query)
        return [note.title for note in response.context["note_list"]]

    @tag("isolation")
    def test_list__shows_the_notes_of_the_one_who_is_logged_in(self) -> None:
        self.write(self.alice, "Soup")
        self.write(self.bob, "Bike")

        self.assertEqual(self.titles(self.alice), ["Soup"])
        self.assertEqual(self.titles(self.bob), ["Bike"])

    @tag("isolation")
    def test_detail__same_address_is_another_note_for_another_user(self) -> None:
        self.write(self.alice, "Soup")
        self.write(self.bob, "Bike")

        self.assertContains(self.client.get("/notes/1/"), "Bike")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get("/notes/1/"), "Soup")

    @tag("isolation")
    def test_detail__of_a_note_that_only_another_user_has(self) -> None:
        self.write(self.alice, "Soup")
        self.client.force_login(self.bob)

        self.assertEqual(self.client.get("/notes/1/").status_code, 404)

    def test_edit__changes_title_and_tags(self) -> None:
        self.write(self.alice, "Soup", tags="winter, recipe")
        page = self.client.get("/notes/1/edit/")
        self.assertContains(page, 'value="recipe, winter"')

        self.client.post("/notes/1/edit/", {"title": "Stew", "tag_names": "Winter,  slow  "})

        self.assertEqual(self.titles(self.alice, tag="slow"), ["Stew"])
        self.assertEqual(self.titles(self.alice, tag="recipe"), [])

    def test_edit__tag_that_is_too_long(self) -> None:
        self.write(self.alice, "Soup")
        response = self.client.post("/notes/1/edit/", {"title": "Soup", "tag_names": "x" * 41})

        self.assertContains(response, "A tag has at most 40 characters.")

    def test_delete__asks_first(self) -> None:
        self.write(self.alice, "Soup")
        self.assertContains(self.client.get("/notes/1/delete/"), "Delete this note?")
        self.assertEqual(self.titles(self.alice), ["Soup"])

        self.client.post("/notes/1/delete/")
        self.assertEqual(self.titles(self.alice), [])

    def test_search__looks_into_titles_and_bodies(self) -> None:
        self.write(self.alice, "Soup", body="Roast the pumpkin")

        self.assertEqual(self.titles(self.alice, q="SOUP"), ["Soup"])
        self.assertEqual(self.titles(self.alice, q="pumpkin"), ["Soup"])
        self.assertEqual(self.titles(self.alice, q="bike"), [])

    def test_sign_up__logs_in_with_no_notes(self) -> None:
        form = {"username": "carol", "password1": "q7-quiet-river", "password2": "q7-quiet-river"}
        response = self.client.post("/sign-up/", form, follow=True)

        self.assertContains(response, "carol")
        self.assertContains(response, "Nothing here yet.")

    def test_pages__send_strangers_to_the_log_in(self) -> None:
        for address in ["/", "/notes/new/", "/notes/1/", "/notes/1/edit/", "/notes/1/delete/"]:
            with self.subTest(address):
                self.assertRedirects(
                    self.client.get(address), f"{reverse('log_in')}?next={address}"
                )

    def test_log_out__ends_the_session(self) -> None:
        self.client.force_login(self.alice)
        self.client.post("/log-out/")

        self.assertEqual(self.client.get("/").status_code, 302)
