"""Django REST framework and django-filter: an API with tokens, written as if there were one database."""

import re

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient, APIRequestFactory, force_authenticate

from dsud import use_user
from dsud.exceptions import NoActiveUser, WrongUser
from tests.packages.conftest import browser_of, migrations_of, open_as, tables
from tests.packages.work.models import Project, Task
from tests.packages.work.urls import ProjectSerializer, ProjectViewSet, TaskFilter, TaskSerializer


@pytest.fixture
def work(each) -> dict[str, Project]:
    """Give each user two projects and three tasks of the same keys."""
    made = {}
    for user in each():
        one = Project.objects.create(owner=user, name=f"one of {user}")
        Project.objects.create(owner=user, name="two")
        for number in range(3):
            Task.objects.create(
                project=one, title=f"task {number} of {user}", slug=f"t{number}-{user}"
            )
        made[user.username] = one
    return made


def api_of(user: User) -> APIClient:
    """Return an API client that knows nothing but a token."""
    client = APIClient()
    token, _ = Token.objects.get_or_create(user=user)
    client.credentials(HTTP_AUTHORIZATION=f"Token {token.key}")
    return client


def test_tables_and_migrations__are_on_their_sides(work, alice: User) -> None:
    assert {"work_project", "work_task"} <= tables(alice) - tables(None)
    assert "authtoken_token" in tables(None) - tables(alice)
    assert migrations_of("authtoken", alice) == migrations_of("authtoken", None)


def test_token__is_given_for_a_password_and_is_its_users(work, alice: User, bob: User) -> None:
    for user in (alice, bob):
        sent = {"username": user.username, "password": "secret"}
        token = APIClient().post("/api/token/", sent).json()["token"]
        answer = APIClient().get("/api/projects/1/", headers={"authorization": f"Token {token}"})
        assert answer.json()["name"] == f"one of {user}"
    assert APIClient().get("/api/projects/").status_code == 401
    forged = APIClient().get("/api/projects/", headers={"authorization": "Token forged"})
    assert forged.status_code == 401


def test_token__is_reached_from_its_user_and_back(alice: User) -> None:
    Token.objects.create(user=alice)
    assert Token.objects.select_related("user").get().user == alice
    assert User.objects.get(auth_token__isnull=False) == alice
    with use_user(alice):
        assert alice.auth_token.user == alice


def test_list__has_nested_rows_and_the_name_of_the_owner(work, alice: User, bob: User) -> None:
    for user in (alice, bob):
        answer = api_of(user).get("/api/projects/").json()
        assert answer["count"] == 2
        assert answer["results"][0] == {
            "id": 1,
            "name": f"one of {user}",
            "owner": user.username,
            "tasks": [
                {
                    "id": number + 1,
                    "project": 1,
                    "title": f"task {number} of {user}",
                    "slug": f"t{number}-{user}",
                    "done": False,
                }
                for number in range(3)
            ],
            "task_ids": [1, 2, 3],
        }


def test_pages__are_those_of_the_tokens_user(work, alice: User, bob: User) -> None:
    for user in (alice, bob):
        client = api_of(user)
        first = client.get("/api/tasks/").json()
        assert (first["count"], len(first["results"])) == (3, 2)
        second = client.get(first["next"]).json()
        assert [each["title"] for each in second["results"]] == [f"task 2 of {user}"]
        assert second["next"] is None


def test_search_order_and_filters__join_the_owner(work, alice: User, bob: User) -> None:
    for user, other in ((alice, bob), (bob, alice)):
        client = api_of(user)
        ask = lambda query, client=client: client.get(f"/api/{query}").json()["count"]  # noqa: E731
        assert ask(f"projects/?search={user}") == 2
        assert ask(f"projects/?search={other}") == 0
        assert ask(f"projects/?owner__username={user}&name=two") == 1
        assert ask(f"projects/?owner__username={other}") == 0
        assert ask(f"tasks/?owner={user}") == 3
        assert ask(f"tasks/?owner={other}") == 0
        assert ask(f"tasks/?title={user}&done=false") == 3
        assert ask("tasks/?project=1") == 3
        assert ask("tasks/?project=2") == 0
        assert ask("tasks/?projects=1&projects=2") == 3
        names = client.get("/api/projects/?ordering=-name").json()["results"]
        assert [each["name"] for each in names] == ["two", f"one of {user}"]
        refused = client.get("/api/tasks/?project=77")
        assert refused.status_code == 400
        assert "is not one of the available choices" in refused.content.decode()


def test_writing__stays_with_the_tokens_user(work, alice: User, bob: User) -> None:
    client = api_of(bob)
    made = client.post("/api/tasks/", {"project": 2, "title": "new", "slug": "new"})
    assert (made.status_code, made.json()["id"]) == (201, 4)
    assert client.patch("/api/tasks/1/", {"title": "changed"}).json()["title"] == "changed"
    assert (
        client.put(
            "/api/projects/1/", {"name": "renamed", "task_ids": [1, 2, 3]}, format="json"
        ).json()["name"]
        == "renamed"
    )
    assert client.delete("/api/tasks/2/").status_code == 204
    assert client.get("/api/tasks/2/").status_code == 404
    with use_user(alice):
        assert list(Task.objects.values_list("title", flat=True)) == [
            f"task {number} of alice" for number in range(3)
        ]
        assert Project.objects.get(pk=1).name == "one of alice"
    with use_user(bob):
        assert Task.objects.count() == 3


def test_owner__is_the_tokens_user(work, alice: User, bob: User) -> None:
    answer = api_of(alice).post("/api/projects/", {"name": "three"})
    assert (answer.status_code, answer.json()["owner"]) == (201, "alice")
    with use_user(bob):
        assert Project.objects.count() == 2


def test_unique_fields__are_unique_for_each_user(work, alice: User, bob: User) -> None:
    task = {"project": 2, "title": "again", "slug": "t0-alice"}
    taken = api_of(alice).post("/api/tasks/", task)
    assert (taken.status_code, taken.json()) == (
        400,
        {"slug": ["task with this slug already exists."]},
    )
    assert api_of(bob).post("/api/tasks/", task).status_code == 201
    assert api_of(bob).patch("/api/tasks/1/", {"slug": "t0-bob"}).status_code == 200


def test_keys_of_related_rows__are_looked_up_at_the_tokens_user(
    work, alice: User, bob: User
) -> None:
    with use_user(alice):
        Project.objects.create(owner=alice, name="only hers")
    task = {"project": 3, "title": "whose", "slug": "whose"}
    assert api_of(alice).post("/api/tasks/", task).status_code == 201
    refused = api_of(bob).post("/api/tasks/", task)
    assert refused.json() == {"project": ['Invalid pk "3" - object does not exist.']}


def test_action__updates_the_filtered_rows_of_one_user(work, alice: User, bob: User) -> None:
    assert api_of(bob).post("/api/tasks/finish/?title=task").json() == {"finished": 3}
    with use_user(alice):
        assert Task.objects.filter(done=True).count() == 0


def test_browsable_pages__offer_rows_of_the_session_user(work, alice: User, bob: User) -> None:
    for user, other in ((alice, bob), (bob, alice)):
        browser = browser_of(user)
        page = browser.get("/api/tasks/1/", headers={"accept": "text/html"}).content.decode()
        assert f"task 0 of {user}" in page
        assert re.search(rf'<option value="1" selected\s*>one of {user}</option>', page)
        assert str(other) not in page
        listed = browser.get("/api/tasks/", headers={"accept": "text/html"}).content.decode()
        assert f"one of {user}" in listed
        assert str(other) not in listed
        form = {"project": "2", "title": "from a form", "slug": "form"}
        assert browser.post("/api/tasks/", form, headers={"accept": "text/html"}).status_code == 201
        options = browser.options("/api/tasks/").json()
        assert options["actions"]["POST"]["project"]["type"] == "field"
    assert Client().get("/api/", headers={"accept": "text/html"}).status_code == 401


def test_token__outweighs_the_session_of_another(work, alice: User, bob: User) -> None:
    browser = browser_of(alice)
    token = Token.objects.create(user=bob)
    answer = browser.get("/api/projects/1/", headers={"authorization": f"Token {token.key}"})
    assert answer.json()["name"] == "one of bob"


def test_serializer__refuses_anothers_objects(work, alice: User, bob: User) -> None:
    with use_user(alice):
        task = Task.objects.get(pk=1)
        pending = Task.objects.all()
    with use_user(bob):
        change = TaskSerializer(task, data={"title": "taken"}, partial=True)
        with pytest.raises(WrongUser):
            change.is_valid(raise_exception=True)
            change.save()
        with pytest.raises(WrongUser):
            _ = TaskSerializer(pending, many=True).data
        with pytest.raises(WrongUser):
            _ = ProjectSerializer(work["alice"]).data
        with pytest.raises(WrongUser):
            TaskSerializer().create({"project": work["alice"], "title": "x", "slug": "x"})
        assert Task.objects.filter(title="taken").count() == 0
        assert Task.objects.count() == 3


def test_serializer_for_nobody__raises(work) -> None:
    with pytest.raises(NoActiveUser):
        _ = TaskSerializer(Task.objects.all(), many=True).data
    serializer = TaskSerializer(data={"project": 1, "title": "x", "slug": "x"})
    with pytest.raises((NoActiveUser, ValidationError)):
        serializer.is_valid(raise_exception=True)


def test_filterset__chooses_among_the_active_users_rows(work, each) -> None:
    for user in each():
        found = TaskFilter({"project": "1", "title": "0"}, queryset=Task.objects.all())
        assert [task.title for task in found.qs] == [f"task 0 of {user}"]
        assert f"one of {user}" in found.form.as_p()
        assert TaskFilter({"owner": user.username}).qs.count() == 3
        assert not TaskFilter({"project": "9"}).is_valid()


def test_filterset__refuses_what_was_made_for_another(work, alice: User, bob: User) -> None:
    with use_user(alice):
        hers = TaskFilter({"project": "1"}, queryset=Task.objects.all())
        evaluated = TaskFilter({"project": "1"})
        assert len(evaluated.qs) == 3
    with use_user(bob):
        with pytest.raises(WrongUser):
            list(hers.qs)
        with pytest.raises(WrongUser):
            list(evaluated.qs)


def test_filtered_page__is_the_visitors(work, alice: User, bob: User) -> None:
    for user, other in ((alice, bob), (bob, alice)):
        page = browser_of(user).get("/api/page/?project=1").content.decode()
        assert page.count("<li>") == 3
        assert f"one of {user}" in page
        assert str(other) not in page
    assert Client().get("/api/page/").status_code == 403


def test_view_without_middleware__runs_as_whom_the_block_says(work, alice: User, bob: User) -> None:
    request = APIRequestFactory().get("/api/projects/1/")
    force_authenticate(request, user=bob)
    view = ProjectViewSet.as_view({"get": "retrieve"})
    assert view(request, pk=1).status_code == 403
    with use_user(bob):
        assert view(request, pk=1).data["name"] == "one of bob"


def test_deleted_user__loses_token_and_rows(work, alice: User, bob: User) -> None:
    hers, his = api_of(alice), api_of(bob)
    assert hers.get("/api/projects/").status_code == 200
    alice.delete()
    assert Token.objects.count() == 1
    assert hers.get("/api/projects/").status_code == 401
    assert his.get("/api/projects/").json()["count"] == 2


def test_admin__shows_tokens_of_all_and_tasks_of_whom_is_switched_to(
    work, operator: User, alice: User, bob: User
) -> None:
    for user in (alice, bob):
        Token.objects.create(user=user)
    browser = open_as(operator, bob)
    listed = browser.get("/admin/authtoken/tokenproxy/").content.decode()
    assert "alice" in listed
    assert "bob" in listed
    tasks = browser.get("/admin/work/task/1/change/").content.decode()
    assert "task 0 of bob" in tasks
    assert "of alice" not in tasks
    deleted = browser.post(f"/admin/authtoken/tokenproxy/{alice.pk}/delete/", {"post": "yes"})
    assert deleted.status_code == 302
    assert list(Token.objects.values_list("user__username", flat=True)) == ["bob"]


def test_served__answers_each_token_with_its_users_rows(
    work, alice: User, bob: User, live_server
) -> None:
    keys = {user: Token.objects.create(user=user).key for user in (alice, bob)}
    with httpx.Client(base_url=live_server.url) as visitor:
        for number, user in enumerate((alice, bob, alice)):
            headers = {"authorization": f"Token {keys[user]}"}
            answer = visitor.get("/api/projects/?search=one", headers=headers)
            assert [each["name"] for each in answer.json()["results"]] == [f"one of {user}"]
            made = visitor.post("/api/projects/", json={"name": f"{number}"}, headers=headers)
            assert made.json()["owner"] == user.username
        assert visitor.get("/api/projects/").status_code == 401
