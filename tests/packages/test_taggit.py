"""django-taggit: tags that generic relations tie to the rows of one user."""

import pytest
import pytest_django
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.checks import run_checks
from django.core.exceptions import FieldError
from django.core.management import call_command
from django.db import connections
from django.test import Client
from taggit.models import Tag, TaggedItem
from taggit.utils import edit_string_for_tags

from dsud import use_user
from dsud.connections import alias_of
from dsud.exceptions import NoActiveUser, WrongUser
from tests.packages.bookmarks.models import Bookmark, Clipping, Topic, Topical
from tests.packages.conftest import browser_of, migrations_of, open_as, tables

OF_TAGGIT = {"taggit_tag", "taggit_taggeditem"}


@pytest.fixture
def bookmarks(each) -> dict[str, Bookmark]:
    """Give each user one bookmark, whose tags have the same keys and other names."""
    made = {}
    for user in each():
        bookmark = Bookmark.objects.create(owner=user, title=f"of {user}")
        bookmark.tags.add("common", f"only {user}")
        made[user.username] = bookmark
    return made


def test_tables_and_migrations__are_on_the_side_of_the_rows(alice: User) -> None:
    with use_user(alice):
        Bookmark.objects.count()
    assert tables(alice) >= OF_TAGGIT
    assert not tables(None) & OF_TAGGIT
    assert migrations_of("taggit", alice) == migrations_of("taggit", None)
    assert len(migrations_of("taggit", alice)) > 3


def test_rows_of_both__have_the_same_keys(bookmarks: dict, each) -> None:
    keys = [
        (
            list(Bookmark.objects.values_list("pk", flat=True)),
            list(Tag.objects.order_by("pk").values_list("pk", flat=True)),
            list(TaggedItem.objects.order_by("pk").values_list("object_id", "tag_id")),
        )
        for _ in each()
    ]
    assert keys == [([1], [1, 2], [(1, 1), (1, 2)])] * 2


def test_tags__are_those_of_their_user(bookmarks: dict, each) -> None:
    for user in each():
        bookmark = Bookmark.objects.get()
        assert list(bookmark.tags.names()) == ["common", f"only {user}"]
        assert sorted(bookmark.tags.slugs()) == ["common", f"only-{user}"]
        assert list(Bookmark.tags.order_by("name").values_list("name", flat=True)) == [
            "common",
            f"only {user}",
        ]
        assert bookmark.tagged_items.count() == 2
        assert edit_string_for_tags(bookmark.tags.all()) == f'"only {user}", common'


def test_filter_by_tag__joins_tags_and_content_types(bookmarks: dict, each) -> None:
    for user in each():
        other = {"alice": "bob", "bob": "alice"}[user.username]
        assert Bookmark.objects.filter(tags__name="common").get().title == f"of {user}"
        assert Bookmark.objects.filter(tags__name__in=["common"], owner__username=user).exists()
        assert not Bookmark.objects.filter(tags__name=f"only {other}").exists()
        assert not Bookmark.objects.filter(tags__name="common", owner__username=other).exists()
        assert Bookmark.objects.exclude(tags__name=f"only {user}").count() == 0


def test_prefetch__reads_tags_and_their_users_rows(bookmarks: dict, each) -> None:
    for user in each():
        rows = Bookmark.objects.select_related("owner").prefetch_related("tags")
        assert [(row.owner, [tag.name for tag in row.tags.all()]) for row in rows] == [
            (user, ["common", f"only {user}"])
        ]


def test_tagged_item__leads_to_its_object_and_its_content_type(bookmarks: dict, each) -> None:
    kind = ContentType.objects.get_for_model(Bookmark)
    for user in each():
        item = TaggedItem.objects.select_related("content_type", "tag").first()
        assert item.content_type == kind
        assert item.content_type_id == kind.pk
        assert item.content_object.title == f"of {user}"
        assert str(item) == f"of {user} tagged with common"
        assert TaggedItem.objects.filter(content_type__model="bookmark").count() == 2
        assert {
            each.content_object.title
            for each in TaggedItem.objects.prefetch_related("content_object")
        } == {f"of {user}"}


def test_similar_objects__are_those_of_the_user(bookmarks: dict, each) -> None:
    for user in each():
        another = Bookmark.objects.create(owner=user, title="another")
        another.tags.add("common")
        assert [each.title for each in another.tags.similar_objects()] == [f"of {user}"]
        assert [tag.name for tag in another.tags.most_common()] == ["common"]
        commonest = Bookmark.tags.most_common().first()
        assert (commonest.name, commonest.num_times) == ("common", 2)


def test_set_remove_and_clear__change_one_users_rows(
    bookmarks: dict, alice: User, bob: User
) -> None:
    with use_user(alice):
        bookmarks["alice"].tags.set(["new", "common"])
        assert sorted(bookmarks["alice"].tags.names()) == ["common", "new"]
        bookmarks["alice"].tags.remove("common")
        assert list(bookmarks["alice"].tags.names()) == ["new"]
        bookmarks["alice"].tags.clear()
        assert TaggedItem.objects.count() == 0
    with use_user(bob):
        assert list(bookmarks["bob"].tags.names()) == ["common", "only bob"]


@pytest.mark.parametrize(
    "use",
    [
        lambda tags: tags.add("intruder"),
        lambda tags: tags.set(["intruder"]),
        lambda tags: tags.set(["intruder"], clear=True),
        lambda tags: tags.remove("common"),
        lambda tags: tags.clear(),
        lambda tags: list(tags.all()),
        lambda tags: list(tags.names()),
        lambda tags: tags.count(),
        lambda tags: list(tags.similar_objects()),
        lambda tags: list(tags.most_common()),
    ],
    ids=["add", "set", "set anew", "remove", "clear", "all", "names", "count", "similar", "common"],
)
def test_tags_of_anothers_object__raise(bookmarks: dict, bob: User, use) -> None:
    with use_user(bob):
        before = list(TaggedItem.objects.values_list("tag__name", "object_id"))
        with pytest.raises(WrongUser):
            use(bookmarks["alice"].tags)
        assert list(TaggedItem.objects.values_list("tag__name", "object_id")) == before
        assert Tag.objects.filter(name="intruder").count() == 0


def test_anothers_tag__cannot_be_given(bookmarks: dict, alice: User, bob: User) -> None:
    with use_user(alice):
        hers = Tag.objects.get(name="only alice")
    with use_user(bob):
        with pytest.raises(WrongUser):
            bookmarks["bob"].tags.add(hers)
        with pytest.raises(WrongUser):
            list(Bookmark.objects.filter(tags=hers))
        with pytest.raises(WrongUser):
            list(Bookmark.objects.filter(tags__in=[hers]))
        assert list(bookmarks["bob"].tags.names()) == ["common", "only bob"]


def test_tagging_with_nobody_active__raises(bookmarks: dict) -> None:
    with pytest.raises(NoActiveUser):
        Tag.objects.create(name="nobody's")
    with pytest.raises(NoActiveUser):
        list(Bookmark.objects.filter(tags__name="common"))


def test_tags_of_a_model_of_ones_own__stay_apart_from_taggits(each) -> None:
    for user in each():
        clipping = Clipping.objects.create(owner=user, text=f"of {user}")
        clipping.topics.add("common", f"only {user}")
        assert Topic.objects.count() == Topical.objects.count() == 2
        assert Tag.objects.count() == 0
        assert Clipping.objects.get(topics__name=f"only {user}", owner__username=user) == clipping


def test_bulk_deletion__takes_the_tags_of_these_rows_only(
    bookmarks: dict, alice: User, bob: User
) -> None:
    with use_user(alice):
        Bookmark.objects.all().delete()
        assert TaggedItem.objects.count() == 0
        assert Tag.objects.count() == 2
        call_command("remove_orphaned_tags", verbosity=0)
        assert Tag.objects.count() == 0
    with use_user(bob):
        assert (Tag.objects.count(), TaggedItem.objects.count()) == (2, 2)


def test_deleted_user__leaves_the_others_tags(bookmarks: dict, alice: User, bob: User) -> None:
    alice.delete()
    with use_user(bob):
        assert (Tag.objects.count(), TaggedItem.objects.count(), Bookmark.objects.count()) == (
            2,
            2,
            1,
        )


def test_page_by_tag__shows_the_visitors(bookmarks: dict, alice: User, bob: User) -> None:
    for user in (alice, bob):
        page = browser_of(user).get("/bookmarks/common/")
        assert page.content.decode().strip() == f"of {user} of {user}: common,only {user};"
    assert browser_of(alice).get("/bookmarks/only-bob/").status_code == 404
    assert Client().get("/bookmarks/common/").status_code == 403


def test_form__writes_tags_of_the_visitor(bookmarks: dict, alice: User, bob: User) -> None:
    answer = browser_of(bob).post("/bookmarks/add/", {"title": "sent", "tags": "common, fresh"})
    assert answer.status_code == 302
    with use_user(bob):
        assert sorted(Bookmark.objects.get(title="sent").tags.names()) == ["common", "fresh"]
    with use_user(alice):
        assert Tag.objects.count() == 2


def test_admin__shows_and_merges_tags_of_whom_is_switched_to(
    bookmarks: dict, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    page = browser.get("/admin/taggit/tag/").content.decode()
    assert "only bob" in page
    assert "only alice" not in page
    one = browser.get("/admin/taggit/tag/1/change/").content.decode()
    assert "of bob tagged with common" in one
    found = browser.get("/admin/bookmarks/bookmark/", {"q": "bob", "tags__id__exact": "1"})
    assert "of bob" in found.content.decode()

    chosen = {"action": "render_tag_form", "_selected_action": ["1", "2"]}
    asked = browser.post("/admin/taggit/tag/", chosen)
    assert asked["Location"] == "/admin/taggit/tag/merge-tags/"
    merged = browser.post(asked["Location"], {"new_tag_name": "merged"})
    assert merged.status_code == 302
    with use_user(bob):
        assert list(bookmarks["bob"].tags.names()) == ["merged"]
    with use_user(alice):
        assert list(bookmarks["alice"].tags.names()) == ["common", "only alice"]


def test_admin__saves_a_bookmark_with_tags(
    bookmarks: dict, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, alice)
    form = {"owner": alice.pk, "title": "changed", "tags": '"from the admin"'}
    assert browser.post("/admin/bookmarks/bookmark/1/change/", form).status_code == 302
    with use_user(alice):
        assert list(Bookmark.objects.get(title="changed").tags.names()) == ["from the admin"]
    with use_user(bob):
        assert Bookmark.objects.get().title == "of bob"


def test_raw_table__has_the_same_content_type_ids_everywhere(
    bookmarks: dict, alice: User, bob: User
) -> None:
    shared = dict(ContentType.objects.values_list("pk", "model"))
    for user in (alice, bob):
        with connections[alias_of(str(user.pk))].cursor() as cursor:
            cursor.execute("SELECT id, model FROM django_content_type")
            assert dict(cursor.fetchall()) == shared


def test_check__says_that_tags_belong_to_users_too(settings: pytest_django.Settings) -> None:
    settings.DSUD_APPS = [name for name in settings.DSUD_APPS if name != "taggit"]
    found = {message.id: message.hint for message in run_checks()}
    assert found.keys() == {"dsud.E017", "dsud.W005"}
    assert found["dsud.E017"] == 'Add "taggit" to DSUD_APPS, or remove the field.'
    settings.DSUD_APPS = [*settings.DSUD_APPS, "taggit"]
    assert run_checks() == []


def test_unknown_field__is_djangos_error_as_ever(alice: User) -> None:
    with use_user(alice), pytest.raises(FieldError):
        Bookmark.objects.filter(tags__colour="red")
