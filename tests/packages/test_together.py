"""All packages on one site: its users come and go, its operators and several visitors work at once."""

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import pytest_django
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import call_command
from rest_framework.authtoken.models import Token

from dsud import use_user
from dsud.engines import engine
from dsud.exceptions import UserDatabaseDoesNotExist
from tests.packages.bookmarks.models import Bookmark
from tests.packages.conftest import browser_of, open_as, tables
from tests.packages.folders.models import Folder
from tests.packages.journal.models import Entry
from tests.packages.outline.models import Section
from tests.packages.spending.models import Category, Expense
from tests.packages.work.models import Project, Task


def fill(user: User) -> None:
    """Give the active user a row of everything."""
    Bookmark.objects.create(owner=user, title=f"bookmark of {user}").tags.add("common")
    entry = Entry.objects.create(owner=user, text=f"entry of {user}")
    entry.moods.create(name="calm")
    Section.objects.add_root(instance=Section(owner=user, title=f"section of {user}"))
    Folder.objects.create(
        owner=user,
        name="below",
        parent=Folder.objects.create(owner=user, name=f"folder of {user}"),
    )
    project = Project.objects.create(owner=user, name=f"project of {user}")
    Task.objects.create(project=project, title="task", slug="task")
    category = Category.objects.create(name="food")
    Expense.objects.create(owner=user, category=category, text=f"expense of {user}", amount=1)


def counts() -> list[int]:
    """Return how many rows the active user has of each."""
    models = (Bookmark, Entry, Entry.history.model, Section, Folder, Project, Task, Expense)
    return [model.objects.count() for model in models]


FILLED = [1, 1, 2, 1, 2, 1, 1, 1]


@pytest.fixture
def filled(each) -> None:
    """Give each of two users a row of everything."""
    for user in each():
        fill(user)
        assert counts() == FILLED


def test_checks__find_nothing(files: None) -> None:
    assert run_checks() == []


def test_tables__are_on_one_side(filled: None, alice: User) -> None:
    both = tables(None) & tables(alice)
    assert both == {"auth_user", "django_content_type", "django_migrations"}


DELETIONS = {
    "instance": lambda user, operator: User.objects.get(pk=user.pk).delete(),
    "queryset": lambda user, operator: User.objects.filter(pk=user.pk).delete(),
    "page": lambda user, operator: browser_of(operator).post(
        f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}
    ),
    "action": lambda user, operator: browser_of(operator).post(
        "/admin/auth/user/",
        {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"},
    ),
    "switched": lambda user, operator: open_as(operator, user).post(
        f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}
    ),
}


@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
def test_deleted_user__goes_with_every_row_and_no_other(
    filled: None, operator: User, alice: User, bob: User, delete
) -> None:
    Token.objects.create(user=alice)
    delete(alice, operator)
    assert not User.objects.filter(pk=alice.pk).exists()
    assert not Token.objects.exists()
    assert not engine().exists(str(alice.pk))
    with use_user(alice.pk), pytest.raises(UserDatabaseDoesNotExist):
        Bookmark.objects.count()
    with use_user(bob):
        assert counts() == FILLED


def test_deletion__is_asked_for_on_a_page(filled: None, operator: User, alice: User) -> None:
    page = browser_of(operator).get(f"/admin/auth/user/{alice.pk}/delete/")
    assert page.status_code == 200
    assert "Are you sure" in page.content.decode()


def test_deleted_row__takes_what_cascades(filled: None, alice: User, bob: User) -> None:
    with use_user(alice):
        for model in (Bookmark, Entry, Section, Folder, Project, Expense):
            model.objects.all().delete()
        assert counts() == [0, 0, 3, 0, 0, 0, 0, 0]
    with use_user(bob):
        assert counts() == FILLED


def test_dump_and_load__are_of_one_user(filled: None, alice: User, bob: User, tmp_path) -> None:
    labels = ["bookmarks", "taggit", "journal", "outline", "folders", "work", "spending"]
    dumped = tmp_path / "dump.json"
    with use_user(alice):
        call_command("dumpdata", *labels, database=f"user_{alice.pk}", output=str(dumped))
        for model in (Expense, Task, Project, Folder, Section, Entry, Bookmark):
            model.objects.all().delete()
        call_command("loaddata", str(dumped), database=f"user_{alice.pk}", verbosity=0)
        assert counts()[:2] == FILLED[:2]
        assert list(Bookmark.objects.get().tags.names()) == ["common"]
        assert Folder.objects.get(name="below").parent.name == "folder of alice"
    with use_user(bob):
        assert counts() == FILLED


def test_visitors__work_at_once_with_rows_of_their_own(
    filled: None, alice: User, bob: User, live_server
) -> None:
    keys = {user.username: Token.objects.create(user=user).key for user in (alice, bob)}

    def work(name: str) -> list[str]:
        headers = {"authorization": f"Token {keys[name]}"}
        with httpx.Client(base_url=live_server.url, headers=headers, timeout=30) as visitor:
            for number in range(5):
                made = visitor.post("/api/projects/", json={"name": f"{number} of {name}"})
                assert made.json()["owner"] == name, made.text
            found = visitor.get("/api/projects/?search=of").json()
            return [found["count"], *(each["name"] for each in found["results"])]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(work, ["alice", "bob"]))
    assert answers == [[6, f"project of {user}", f"0 of {user}"] for user in (alice, bob)]


def test_operator__imports_a_file_over_the_wire(
    filled: None, operator: User, alice: User, bob: User, live_server
) -> None:
    with httpx.Client(base_url=live_server.url, follow_redirects=True, timeout=30) as browser:

        def send(page: str, to: str | None = None, files=None, **form: object) -> str:
            text = browser.get(page).text
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)
            data = {"csrfmiddlewaretoken": token[1], **form}
            answer = browser.post(to or page, data=data, files=files)
            assert answer.status_code == 200, answer.text
            return answer.text

        send("/admin/login/", username="operator", password="secret", next="/admin/")
        send("/admin/auth/user/", "/admin/switch-user/", user_id=bob.pk)
        file = ("new.csv", b"id,category,text,amount\n1,food,over the wire,7\n", "text/csv")
        address = "/admin/spending/expense/import/"
        preview = send(address, files={"import_file": file}, format="0", resource="0")
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', preview))
        done = browser.post("/admin/spending/expense/process_import/", data=hidden)
        assert "0 new, 1 updated" in done.text
    with use_user(bob):
        assert Expense.objects.get().text == "over the wire"
    with use_user(alice):
        assert Expense.objects.get().text == "expense of alice"


@pytest.fixture
def distinct(settings: pytest_django.Settings) -> None:
    """Have the keys of each user come from a range of their own."""
    settings.DSUD_DISTINCT_KEYS = True


def test_distinct_keys__name_rows_of_one_user_in_every_package(
    distinct: None, filled: None, operator: User, alice: User, bob: User
) -> None:
    with use_user(alice):
        hers = {
            model: model.objects.first().pk for model in (Bookmark, Section, Folder, Task, Expense)
        }
    assert len(set(hers.values())) < len(hers)  # The ranges are users', not tables'.
    with use_user(bob):
        for model, key in hers.items():
            assert model.objects.count()
            assert not model.objects.filter(pk=key).exists()
        assert Bookmark.objects.filter(tags__name="common").count() == 1
        assert Folder.objects.get(name="below").get_root().name == "folder of bob"
        Section.objects.add_child(Section.objects.get(), instance=Section(owner=bob, title="x"))
        assert Section.objects.find_problems() == ([], [], [], [], [])
    browser = open_as(operator, bob)
    for model, key in hers.items():
        label = f"{model._meta.app_label}/{model._meta.model_name}"
        assert browser.get(f"/admin/{label}/{key}/change/").status_code == 302
    answer = browser_of(bob).get(f"/api/tasks/{hers[Task]}/")
    assert answer.status_code == 404
