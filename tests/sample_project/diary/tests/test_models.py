from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Prefetch

from diary.models import Entry, Remark, Topic, Version
from diary.tests import DiaryTestCase


class JoinTests(DiaryTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice", first_name="Alice")
        cls.walk = Entry.objects.create(owner=cls.alice, title="A walk")
        cls.rain = Entry.objects.create(owner=cls.alice, title="Rain")

    def test_filter_by_what_the_owner_is(self):
        self.assertEqual(Entry.objects.filter(owner__username="alice").count(), 2)
        self.assertEqual(Entry.objects.filter(owner__first_name__startswith="A").count(), 2)
        self.assertFalse(Entry.objects.filter(owner__username="nobody").exists())
        self.assertFalse(Entry.objects.exclude(owner__username="alice").exists())
        self.assertFalse(Entry.objects.filter(owner__is_staff=True).exists())

    def test_owner_comes_with_the_entry(self):
        with self.assertNumQueries(1):
            entry = Entry.objects.select_related("owner").get(title="Rain")
            self.assertEqual(entry.owner, self.alice)
            self.assertEqual(entry.owner.first_name, "Alice")

    def test_values_and_order_of_the_owner(self):
        found = Entry.objects.order_by("owner__username", "-pk").annotate(by=F("owner__username"))
        self.assertEqual(
            list(found.values_list("title", "by", "owner__first_name")),
            [("Rain", "alice", "Alice"), ("A walk", "alice", "Alice")],
        )

    def test_owner_who_changes_is_found_by_the_new_name(self):
        self.alice.username = "alicia"
        self.alice.save()
        self.assertEqual(Entry.objects.filter(owner__username="alicia").count(), 2)
        User.objects.filter(pk=self.alice.pk).update(first_name="Alicia")
        self.assertEqual(Entry.objects.first().owner.first_name, "Alicia")

    def test_users_with_their_entries(self):
        entries = Prefetch("entries", Entry.objects.order_by("-pk"))
        alice = User.objects.prefetch_related(entries).get(pk=self.alice.pk)
        self.assertEqual(list(alice.entries.all()), [self.rain, self.walk])
        self.assertEqual(self.alice.entries.filter(title="Rain").get(), self.rain)


class TopicTests(DiaryTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice")
        cls.entry = Entry.objects.create(owner=cls.alice, title="A walk")
        cls.out, cls.in_ = (
            Topic.objects.create(owner=cls.alice, name=name) for name in ("outside", "inside")
        )

    def test_many_to_many(self):
        self.entry.topics.set([self.out, self.in_])
        self.assertEqual(list(self.entry.topics.all()), [self.in_, self.out])
        self.entry.topics.remove(self.in_)
        self.assertEqual(list(self.out.entries.all()), [self.entry])
        self.assertEqual(Entry.objects.filter(topics__owner__username="alice").count(), 1)
        self.assertEqual(Entry.topics.through.objects.count(), 1)
        self.entry.topics.clear()
        self.assertFalse(Entry.objects.filter(topics__isnull=False).exists())

    def test_count(self):
        self.entry.topics.add(self.out)
        counted = Topic.objects.filter(owner=self.alice).annotate(number=Count("entries"))
        self.assertEqual(
            list(counted.values_list("name", "number")), [("inside", 0), ("outside", 1)]
        )

    def test_one_topic_of_a_name(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Topic.objects.create(owner=self.alice, name="inside")
        with self.assertRaises(ValidationError):
            Topic(owner=self.alice, name="inside").full_clean()

    def test_owner_who_does_not_exist(self):
        with self.assertRaises(ValidationError):
            Topic(owner_id=9999, name="whose").full_clean()


class RemarkTests(DiaryTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice")
        cls.entry = Entry.objects.create(owner=cls.alice, title="A walk")
        cls.topic = Topic.objects.create(owner=cls.alice, name="outside")
        cls.remark = cls.entry.remarks.create(author=cls.alice, text="Too far")
        Remark.objects.create(author=cls.alice, target=cls.topic, text="Too wide")

    def test_target(self):
        self.assertEqual(Remark.objects.get(text="Too far").target, self.entry)
        self.assertEqual(Remark.objects.get(text="Too wide").target, self.topic)
        kind = ContentType.objects.get_for_model(Entry)
        self.assertEqual(
            Remark.objects.get(content_type=kind, object_id=self.entry.pk), self.remark
        )
        self.assertEqual(
            Remark.objects.filter(content_type__app_label="diary", content_type__model="topic")
            .get()
            .content_type.model_class(),
            Topic,
        )

    def test_targets_at_once(self):
        found = Remark.objects.prefetch_related("target").select_related("content_type", "author")
        self.assertEqual([each.target for each in found], [self.entry, self.topic])

    def test_join_through_the_type(self):
        self.assertEqual(Entry.objects.filter(remarks__text="Too far").get(), self.entry)
        self.assertFalse(Entry.objects.filter(remarks__text="Too wide").exists())
        self.assertEqual(Remark.objects.filter(entry__title="A walk").get(), self.remark)
        self.assertEqual(Entry.objects.annotate(number=Count("remarks")).get().number, 1)
        self.assertEqual(Entry.objects.filter(remarks__author__username="alice").get(), self.entry)

    def test_remarks_go_with_the_entry(self):
        self.entry.delete()
        self.assertEqual([each.text for each in Remark.objects.all()], ["Too wide"])


class VersionTests(DiaryTestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice")
        cls.root = User.objects.create_superuser("root")
        cls.entry = Entry.objects.create(owner=cls.alice, title="A walk")

    def test_versions(self):
        self.entry.title = "A long walk"
        self.entry.save()
        self.entry.delete()
        self.assertEqual(
            [str(each) for each in Version.objects.filter(owner=self.alice)],
            ["A walk", "A long walk", "A long walk, gone"],
        )

    def test_changed_by_somebody_else(self):
        self.entry.changed_by = self.root
        self.entry.save()
        versions = Version.objects.filter(owner=self.alice)
        self.assertEqual([each.changed_by for each in versions], [None, self.root])
        joined = versions.select_related("owner", "changed_by")
        self.assertEqual([each.changed_by for each in joined], [None, self.root])
        self.assertEqual(versions.get(changed_by=self.root).owner, self.alice)


class DeletionTests(DiaryTestCase):
    def setUp(self):
        super().setUp()
        self.alice = User.objects.create_user("alice")
        self.entry = Entry.objects.create(owner=self.alice, title="A walk")
        self.entry.topics.create(owner=self.alice, name="outside")
        self.entry.remarks.create(author=self.alice, text="Too far")

    def assert_nothing_is_left(self, pk):
        self.assertFalse(User.objects.filter(pk=pk).exists())
        self.assertFalse(Entry.objects.filter(owner=pk).exists())
        self.assertFalse(Topic.objects.filter(owner=pk).exists())
        self.assertFalse(Remark.objects.filter(author=pk).exists())

    def test_user_goes_with_everything(self):
        pk = self.alice.pk
        self.alice.delete()
        self.assert_nothing_is_left(pk)

    def test_users_go_with_everything(self):
        pk = self.alice.pk
        User.objects.filter(username="alice").delete()
        self.assert_nothing_is_left(pk)

    def test_deletion_that_fails(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            self.alice.delete()
            raise ZeroDivisionError
        alice = User.objects.get(username="alice")
        self.assertEqual(alice.entries.get().remarks.get().text, "Too far")
