from unittest import mock

from django.contrib.auth.models import User
from django.test import TransactionTestCase

from diary.models import Entry, Version
from diary.tests import DiaryTestCase


class PageTests(DiaryTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice, cls.bob = (User.objects.create_user(name) for name in ("alice", "bob"))

    def write(self, user, title, *topics):
        self.client.force_login(user)
        answer = self.client.post("/diary/write/", {"title": title, "topics": topics})
        return answer.json()["pk"]

    def test_entries_are_their_owners(self):
        hers = self.write(self.alice, "A walk", "outside", "alone")
        self.client.post(f"/diary/{hers}/remark/", {"text": "Too far"})
        his = self.write(self.bob, "A run", "outside")
        self.client.post(f"/diary/{his}/remark/", {"text": "Too fast"})

        self.assertEqual(
            self.client.get("/diary/").json()["entries"],
            [
                {
                    "title": "A run",
                    "owner": "bob",
                    "topics": ["outside"],
                    "remarks": ["Too fast (bob)"],
                }
            ],
        )
        self.client.force_login(self.alice)
        (entry,) = self.client.get("/diary/").json()["entries"]
        self.assertEqual(entry["topics"], ["alone", "outside"])
        self.assertEqual(entry["remarks"], ["Too far (alice)"])

    def test_search_looks_into_remarks_and_topics(self):
        pk = self.write(self.alice, "A walk", "outside")
        self.client.post(f"/diary/{pk}/remark/", {"text": "Too far"})
        self.write(self.alice, "Rain", "inside")
        for words, titles in (("far", ["A walk"]), ("INSIDE", ["Rain"]), ("nothing", [])):
            found = self.client.get("/diary/", {"q": words}).json()["entries"]
            self.assertEqual([entry["title"] for entry in found], titles)
        self.client.force_login(self.bob)
        self.assertEqual(self.client.get("/diary/", {"q": "far"}).json()["entries"], [])

    def test_topics_are_counted(self):
        for title in ("A walk", "A swim"):
            self.write(self.alice, title, "outside")
        self.assertEqual(
            self.client.get("/diary/topics/").json()["topics"], [["outside", 2, "alice"]]
        )

    def test_versions_say_who(self):
        pk = self.write(self.alice, "A walk")
        answer = self.client.post(f"/diary/{pk}/rename/", {"title": "A long walk"})
        self.assertEqual(answer.json()["versions"], ["A walk (alice)", "A long walk (alice)"])

    def test_entry_that_there_is_not(self):
        self.write(self.alice, "A walk")
        self.client.force_login(self.bob)
        self.assertEqual(self.client.post("/diary/9999/rename/", {"title": "x"}).status_code, 404)

    def test_remarks_on_everything(self):
        pk = self.write(self.alice, "A walk")
        self.client.post(f"/diary/{pk}/remark/", {"text": "Too far"})
        self.assertEqual(
            self.client.get("/diary/remarks/").json()["remarks"], ["entry A walk: Too far"]
        )

    def test_visitor(self):
        self.assertEqual(self.client.get("/diary/").status_code, 302)


class WriteTests(TransactionTestCase):
    serialized_rollback = True

    def test_writing_fails_as_a_whole(self):
        alice = User.objects.create_user("alice")
        self.client.force_login(alice)
        self.client.raise_request_exception = False
        form = {"title": "A walk", "topics": ["outside"]}
        with mock.patch("diary.views.Topic.objects", **{"get_or_create.side_effect": OSError}):
            self.assertEqual(self.client.post("/diary/write/", form).status_code, 500)

        self.assertFalse(Entry.objects.filter(owner=alice).exists())
        self.assertFalse(Version.objects.filter(owner=alice).exists())
        self.assertEqual(self.client.post("/diary/write/", form).status_code, 200)


class AdminTests(DiaryTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = User.objects.create_superuser("root")
        cls.entry = Entry.objects.create(owner=cls.root, title="A walk")
        cls.entry.remarks.create(author=cls.root, text="Too far")

    def setUp(self):
        super().setUp()
        self.client.force_login(self.root)

    def test_list_is_filtered_and_searched_by_the_owner(self):
        for query, found in (
            ({"q": "far"}, True),
            ({"q": "root"}, True),
            ({"owner__username": "root"}, True),
            ({"q": "alice"}, False),
        ):
            page = self.client.get("/admin/diary/entry/", query)
            self.assertEqual("A walk" in page.content.decode(), found)

    def test_remarks_are_edited_with_the_entry(self):
        kind = "diary-remark-content_type-object_id"
        remark = self.entry.remarks.get()
        form = {
            "owner": self.root.pk,
            "title": "A long walk",
            "written_0": "2020-02-20",
            "written_1": "20:20",
            f"{kind}-TOTAL_FORMS": 2,
            f"{kind}-INITIAL_FORMS": 1,
            f"{kind}-0-id": remark.pk,
            f"{kind}-0-author": self.root.pk,
            f"{kind}-0-text": "Not so far",
            f"{kind}-1-author": self.root.pk,
            f"{kind}-1-text": "Again",
        }
        answer = self.client.post(f"/admin/diary/entry/{self.entry.pk}/change/", form)
        self.assertEqual(answer.status_code, 302)
        texts = Entry.objects.get(title="A long walk").remarks.values_list("text", flat=True)
        self.assertEqual(list(texts), ["Not so far", "Again"])

    def test_deletion_names_what_goes_with_the_entry(self):
        page = self.client.get(f"/admin/diary/entry/{self.entry.pk}/delete/").content.decode()
        self.assertIn("Too far", page)
        self.client.post(f"/admin/diary/entry/{self.entry.pk}/delete/", {"post": "yes"})
        self.assertFalse(Entry.objects.filter(owner=self.root).exists())
