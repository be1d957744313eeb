"""django-import-export: files that come in and go out of the admin, for whoever is switched to."""

import io
import re
from decimal import Decimal

import pytest
import tablib
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from dsud import use_user
from dsud.exceptions import NoActiveUser, WrongUser
from tests.packages.conftest import browser_of, migrations_of, open_as, tables
from tests.packages.spending.admin import ExpenseResource
from tests.packages.spending.models import Category, Expense

IMPORT, EXPORT = "/admin/spending/expense/import/", "/admin/spending/expense/export/"


@pytest.fixture
def expenses(each) -> dict[str, Expense]:
    """Give each user a category and an expense of the same keys."""
    made = {}
    for user in each():
        category = Category.objects.create(name="food")
        Category.objects.create(name=f"only of {user}")
        made[user.username] = Expense.objects.create(
            owner=user, category=category, text=f"lunch of {user}", amount=Decimal("9.50")
        )
    return made


def rows() -> list[tuple[object, ...]]:
    """Return the active user's expenses."""
    found = Expense.objects.order_by("pk").values_list(
        "pk", "category__name", "text", "owner__username"
    )
    return list(found)


def upload(browser: Client, text: str) -> dict[str, str]:
    """Send a file and return what the page that previews it would send to confirm it."""
    sent = SimpleUploadedFile("expenses.csv", text.encode(), content_type="text/csv")
    page = browser.post(IMPORT, {"import_file": sent, "format": "0", "resource": "0"})
    assert page.status_code == 200
    content = page.content.decode()
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', content))
    hidden["preview"] = content
    return hidden


FILE = "id,category,text,amount\n1,food,changed,1.00\n,food,new,2.00\n"


def test_tables_and_migrations__are_on_the_side_of_the_rows(expenses, alice: User) -> None:
    assert {"spending_expense", "spending_category"} <= tables(alice) - tables(None)
    assert migrations_of("spending", alice) == migrations_of("spending", None) == ["0001_initial"]


def test_import__previews_and_then_writes_to_whom_is_switched_to(
    expenses, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    confirmation = upload(browser, FILE)
    assert "<del" in confirmation["preview"]
    assert "alice" not in confirmation["preview"]
    with use_user(bob):
        assert rows() == [(1, "food", "lunch of bob", "bob")]  # The preview was rolled back.

    confirmation.pop("preview")
    done = browser.post("/admin/spending/expense/process_import/", confirmation, follow=True)
    assert "1 new, 1 updated" in done.content.decode()
    with use_user(bob):
        assert rows() == [(1, "food", "changed", "bob"), (2, "food", "new", "bob")]
    with use_user(alice):
        assert rows() == [(1, "food", "lunch of alice", "alice")]
    assert set(LogEntry.objects.values_list("user__username", flat=True)) == {"operator"}


def test_import__fails_as_a_whole(expenses, operator: User, alice: User, bob: User) -> None:
    browser = open_as(operator, bob)
    text = "id,category,text,amount\n1,food,changed,1.00\n,only of alice,new,2.00\n"
    preview = upload(browser, text)["preview"]
    assert "Category matching query does not exist" in preview
    with use_user(bob):
        assert rows() == [(1, "food", "lunch of bob", "bob")]
        data = tablib.Dataset().load(text, format="csv")
        assert ExpenseResource().import_data(data, raise_errors=False).has_errors()
        assert rows() == [(1, "food", "lunch of bob", "bob")]


def test_confirmation_of_another_users_preview__is_refused(
    expenses, operator: User, alice: User, bob: User
) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(operator)
    token = lambda page: re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]  # noqa: E731
    users = browser.get("/admin/auth/user/").content.decode()
    switch = {"user_id": alice.pk, "csrfmiddlewaretoken": token(users)}
    assert browser.post("/admin/switch-user/", switch).status_code == 302

    page = browser.get(IMPORT).content.decode()
    sent = SimpleUploadedFile("expenses.csv", FILE.encode(), content_type="text/csv")
    form = {"import_file": sent, "format": "0", "csrfmiddlewaretoken": token(page)}
    preview = browser.post(IMPORT, form).content.decode()
    confirmation = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', preview))

    users = browser.get("/admin/auth/user/").content.decode()
    switch = {"user_id": bob.pk, "csrfmiddlewaretoken": token(users)}
    assert browser.post("/admin/switch-user/", switch).status_code == 302
    answer = browser.post("/admin/spending/expense/process_import/", confirmation)
    assert answer.status_code == 403
    for user in (alice, bob):
        with use_user(user):
            assert rows() == [(1, "food", f"lunch of {user}", user.username)]


def test_import_with_nobody_switched_to__writes_nothing(expenses, operator: User) -> None:
    browser = browser_of(operator)
    assert "Whose data do you want to open?" in browser.get(IMPORT).content.decode()
    sent = SimpleUploadedFile("expenses.csv", FILE.encode(), content_type="text/csv")
    answer = browser.post(IMPORT, {"import_file": sent, "format": "0"})
    assert answer.status_code == 403
    assert browser.post(EXPORT, {"format": "0"}).status_code == 403


def test_export__has_the_rows_of_whom_is_switched_to(
    expenses, operator: User, alice: User, bob: User
) -> None:
    for user in (alice, bob):
        browser = open_as(operator, user)
        assert f"lunch of {user}" in browser.get("/admin/spending/expense/").content.decode()
        chosen = {f"expenseresource_{name}": "on" for name in ("id", "owner", "category", "text")}
        file = browser.post(EXPORT, {"format": "0", "resource": "0", **chosen})
        assert file["Content-Type"] == "text/csv"
        lines = file.content.decode().splitlines()
        assert lines == ["id,owner,category,text", f"1,{user},food,lunch of {user}"]


def test_export_action__has_the_chosen_rows(expenses, operator: User, bob: User) -> None:
    with use_user(bob):
        Expense.objects.create(owner=bob, category_id=1, text="not chosen", amount=1)
    browser = open_as(operator, bob)
    action = {"action": "export_admin_action", "_selected_action": ["1"]}
    page = browser.post("/admin/spending/expense/", action).content.decode()
    assert 'name="export_items" value="1"' in page
    form = {"format": "0", "expenseresource_text": "on", "export_items": ["1"]}
    assert browser.post(EXPORT, form).content.decode().split() == ["text", "lunch", "of", "bob"]


def test_resource__exports_and_imports_as_the_active_user(expenses, each) -> None:
    for user in each():
        exported = ExpenseResource().export()
        assert exported.csv.splitlines()[1:] == [f"1,{user},food,lunch of {user},9.50"]
        assert ExpenseResource().export(Expense.objects.filter(owner__username=user.username)).dict
        data = tablib.Dataset(
            ["", "food", "tea", "1"], headers=["id", "category", "text", "amount"]
        )
        result = ExpenseResource().import_data(data, dry_run=True)
        assert not result.has_errors()
        assert Expense.objects.count() == 1
        result = ExpenseResource().import_data(data, raise_errors=True)
        assert [row.import_type for row in result] == ["new"]
        assert rows()[-1] == (2, "food", "tea", user.username)


def test_round_trip__carries_one_users_rows_to_another_on_purpose(
    expenses, alice: User, bob: User
) -> None:
    with use_user(alice):
        exported = ExpenseResource().export()
    with use_user(bob):
        ExpenseResource().import_data(exported, raise_errors=True)
        assert rows() == [(1, "food", "lunch of alice", "bob")]
    with use_user(alice):
        assert rows() == [(1, "food", "lunch of alice", "alice")]


def test_resource__refuses_anothers_objects(expenses, alice: User, bob: User) -> None:
    with use_user(alice):
        hers = Expense.objects.all()
    with use_user(bob):
        with pytest.raises(WrongUser):
            ExpenseResource().export(hers)
        with pytest.raises(WrongUser):
            ExpenseResource().do_instance_save(expenses["alice"], is_create=False)
        with pytest.raises(WrongUser):
            ExpenseResource().delete_instance(expenses["alice"], {}, dry_run=False)
        assert rows() == [(1, "food", "lunch of bob", "bob")]


def test_resource_with_nobody_active__raises(expenses) -> None:
    with pytest.raises(NoActiveUser):
        ExpenseResource().export()
    data = tablib.Dataset(["", "food", "tea", "1"], headers=["id", "category", "text", "amount"])
    with pytest.raises(NoActiveUser):
        ExpenseResource().import_data(data)


def test_commands__run_as_one_user(expenses, alice: User, bob: User, tmp_path) -> None:
    file = tmp_path / "categories.csv"
    file.write_text("name\nadded\n")
    with use_user(bob):
        call_command("import", "spending.Category", str(file), interactive=False, verbosity=0)
        assert Category.objects.filter(name="added").count() == 1
    for user, names in (
        (alice, ["food", "only of alice"]),
        (bob, ["food", "only of bob", "added"]),
    ):
        printed = io.TextIOWrapper(io.BytesIO())
        with use_user(user):
            call_command("export", "CSV", "spending.Category", stdout=printed)
        printed.seek(0)
        assert [line.split(",")[1] for line in printed.read().splitlines()[1:]] == names


def test_deleted_user__leaves_the_others_rows(expenses, alice: User, bob: User) -> None:
    alice.delete()
    with use_user(bob):
        assert rows() == [(1, "food", "lunch of bob", "bob")]
        assert Category.objects.count() == 2


def test_admin__deletes_protected_rows_of_whom_is_switched_to(
    expenses, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    page = browser.get("/admin/spending/category/1/delete/").content.decode()
    assert "lunch of bob" in page  # It is protected by that row.
    assert "of alice" not in page
    assert browser.post("/admin/spending/category/2/delete/", {"post": "yes"}).status_code == 302
    with use_user(alice):
        assert Category.objects.count() == 2
