"""django-treebeard: trees whose operations rewrite whole tables, each in one user's database."""

import pytest
from django.contrib.auth.models import User
from django.db import models
from treebeard.exceptions import InvalidMoveToDescendant

from dsud import use_user
from dsud.exceptions import NoActiveUser, WrongUser
from tests.packages.conftest import migrations_of, open_as, tables
from tests.packages.outline.models import Branch, Period, Section

KINDS = {"materialized path": Section, "nested sets": Period, "adjacency list": Branch}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> type[models.Model]:
    """Return a model of each kind of tree."""
    return request.param


@pytest.fixture
def trees(each, kind) -> dict[str, models.Model]:
    """Give each user a tree with nodes of the same keys: 1 over 2 and 3, 3 over 4, and 5 beside."""
    made = {}
    for user in each():

        def new(name: str, user: User = user) -> models.Model:
            return kind(owner=user, title=f"{name} of {user}")

        root = kind.objects.add_root(instance=new("root"))
        kind.objects.add_child(root, instance=new("first"))
        second = kind.objects.add_child(kind.objects.get(pk=1), instance=new("second"))
        kind.objects.add_child(second, instance=new("leaf"))
        kind.objects.add_sibling(kind.objects.get(pk=1), "last-sibling", instance=new("beside"))
        made[user.username] = kind.objects.get(pk=1)
    return made


def outline(kind: type[models.Model]) -> list[str]:
    """Return the active user's tree, one line a node, indented by depth."""
    lines = []

    def visit(nodes, depth: int) -> None:
        for node in nodes:
            lines.append(f"{depth}{node.title.split()[0]}")
            visit(kind.objects.get_children(node), depth + 1)

    visit(kind.objects.get_root_nodes(), 1)
    return lines


WHOLE = ["1root", "2first", "2second", "3leaf", "1beside"]


def test_tables_and_migrations__are_on_the_side_of_the_rows(kind, alice: User) -> None:
    with use_user(alice):
        kind.objects.count()
    assert kind._meta.db_table in tables(alice) - tables(None)
    assert migrations_of("outline", alice) == migrations_of("outline", None)


def test_trees_of_both__have_the_same_keys_and_shape(trees, kind, each) -> None:
    for user in each():
        assert outline(kind) == WHOLE
        assert sorted(kind.objects.values_list("pk", flat=True)) == [1, 2, 3, 4, 5]
        assert kind.objects.filter(owner__username=user.username).count() == 5
        assert {node.owner for node in kind.objects.select_related("owner")} == {user}


def test_questions_about_nodes__are_answered_in_one_tree(trees, kind, each) -> None:
    for user in each():
        leaf, root = kind.objects.get(pk=4), kind.objects.get(pk=1)
        objects = kind.objects
        assert [node.pk for node in objects.get_ancestors(leaf)] == [1, 3]
        assert sorted(node.pk for node in objects.get_descendants(root)) == [2, 3, 4]
        assert [node.pk for node in objects.get_siblings(kind.objects.get(pk=3))] == [2, 3]
        assert objects.get_parent(leaf).title == f"second of {user}"
        assert objects.get_root(leaf) == root
        assert len(objects.get_tree(root)) == 4
        counts = {each.pk: each.descendants_count for each in objects.get_descendants_group_count()}
        assert counts == {1: 3, 5: 0}


def test_moving_a_branch__rewrites_one_users_table(trees, kind, alice: User, bob: User) -> None:
    with use_user(alice):
        kind.objects.move(kind.objects.get(pk=3), kind.objects.get(pk=5), "first-child")
        assert outline(kind) == ["1root", "2first", "1beside", "2second", "3leaf"]
        kind.objects.move(kind.objects.get(pk=5), kind.objects.get(pk=1), "left")
        assert outline(kind) == ["1beside", "2second", "3leaf", "1root", "2first"]
        with pytest.raises(InvalidMoveToDescendant):
            kind.objects.move(kind.objects.get(pk=5), kind.objects.get(pk=4), "last-child")
    with use_user(bob):
        assert outline(kind) == WHOLE


def test_deleting_a_branch__takes_its_leaves_in_one_database(
    trees, kind, alice: User, bob: User
) -> None:
    with use_user(alice):
        kind.objects.get(pk=3).delete()
        assert outline(kind) == ["1root", "2first", "1beside"]
        kind.objects.filter(pk=1).delete()
        assert outline(kind) == ["1beside"]
    with use_user(bob):
        assert outline(kind) == WHOLE


def test_dump_and_load__carry_a_tree_on_purpose(trees, kind, alice: User, bob: User) -> None:
    with use_user(alice):
        dumped = kind.objects.dump_bulk(keep_ids=False)
    for node in (branch := dumped[1:]):
        node["data"]["owner"] = bob.pk
    with use_user(bob):
        kind.objects.load_bulk(branch, parent=kind.objects.get(pk=2))
        assert kind.objects.get(title="beside of alice").owner == bob
    with use_user(alice):
        assert outline(kind) == WHOLE


def test_repairing__rewrites_one_users_table(each, alice: User, bob: User) -> None:
    for user in each():
        root = Section.objects.add_root(instance=Section(owner=user, title="root"))
        Section.objects.add_child(root, instance=Section(owner=user, title="child"))
        Section.objects.filter(pk=1).update(numchild=7)
        Section.objects.filter(pk=2).update(depth=9)
    with use_user(alice):
        assert Section.objects.find_problems()[3:] == ([2], [1])
        Section.objects.fix_tree(fix_paths=True)
        assert Section.objects.find_problems() == ([], [], [], [], [])
    with use_user(bob):
        assert Section.objects.find_problems()[3:] == ([2], [1])


READS = {
    "children": lambda objects, hers: list(objects.get_children(hers)),
    "descendants": lambda objects, hers: list(objects.get_descendants(hers)),
    "ancestors": lambda objects, hers: list(objects.get_ancestors(hers)),
    "siblings": lambda objects, hers: list(objects.get_siblings(hers)),
    "tree": lambda objects, hers: list(objects.get_tree(hers)),
    "parent": lambda objects, hers: objects.get_parent(hers, update=True),
    "last child": lambda objects, hers: objects.get_last_child(hers),
    "dump": lambda objects, hers: objects.dump_bulk(hers),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_anothers_node__is_not_looked_up_here(trees, kind, bob: User, read) -> None:
    with use_user(bob), pytest.raises(WrongUser):
        read(kind.objects, trees["alice"])


WRITES = {
    "save": lambda objects, hers, his, new: hers.save(),
    "delete": lambda objects, hers, his, new: hers.delete(),
    "move": lambda objects, hers, his, new: objects.move(hers, his, "last-sibling"),
    "move under": lambda objects, hers, his, new: objects.move(his, hers, "first-child"),
    "move beside": lambda objects, hers, his, new: objects.move(his, hers, "left"),
    "add child": lambda objects, hers, his, new: objects.add_child(hers, instance=new),
    "add sibling": lambda objects, hers, his, new: objects.add_sibling(hers, "left", instance=new),
    "add root": lambda objects, hers, his, new: objects.add_root(instance=hers),
    "load": lambda objects, hers, his, new: objects.load_bulk(
        [{"data": {"title": "loaded", "owner": new.owner_id}}], parent=hers
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_anothers_node__changes_nothing_here(trees, kind, bob: User, write) -> None:
    with use_user(bob):
        before = list(kind.objects.order_by("pk").values_list())
        with pytest.raises(WrongUser):
            write(
                kind.objects,
                trees["alice"],
                kind.objects.get(pk=5),
                kind(owner=bob, title="intruder"),
            )
        assert list(kind.objects.order_by("pk").values_list()) == before


def test_tree_with_nobody_active__raises(trees, kind) -> None:
    with pytest.raises(NoActiveUser):
        list(kind.objects.get_root_nodes())
    with pytest.raises(NoActiveUser):
        kind.objects.add_root(instance=kind(title="nobody's"))


def test_deleted_user__leaves_the_others_tree(trees, kind, alice: User, bob: User) -> None:
    alice.delete()
    with use_user(bob):
        assert outline(kind) == WHOLE


def test_admin__shows_and_moves_nodes_of_whom_is_switched_to(
    trees, kind, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    address = f"/admin/outline/{kind._meta.model_name}/"
    page = browser.get(address).content.decode()
    assert "root of bob" in page
    assert "of alice" not in page
    below = browser.get(f"{address}children/1/").json()["result_html"]
    assert "second of bob" in below
    assert "of alice" not in below

    moved = browser.post(f"{address}move/", {"node": 3, "target": 5, "relation": "child"})
    assert moved.content == b"OK"
    with use_user(bob):
        assert outline(kind) == ["1root", "2first", "1beside", "2second", "3leaf"]
    with use_user(alice):
        assert outline(kind) == WHOLE


def test_admin__adds_a_node_to_the_tree_of_whom_is_switched_to(
    trees, kind, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    address = f"/admin/outline/{kind._meta.model_name}/add/"
    form = {"owner": bob.pk, "title": "added", "sib_order": 1}
    form |= {"treebeard_position": "first-child", "treebeard_ref_node": "2"}
    answer = browser.post(address, form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    with use_user(bob):
        assert outline(kind) == ["1root", "2first", "3added", "2second", "3leaf", "1beside"]
    with use_user(alice):
        assert outline(kind) == WHOLE


def test_admin__rolls_back_what_an_invalid_form_has_begun(
    trees, kind, operator: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    form = {"owner": bob.pk, "title": "", "treebeard_position": "first-child"}
    answer = browser.post(f"/admin/outline/{kind._meta.model_name}/add/", form)
    assert answer.status_code == 200
    assert "This field is required." in answer.content.decode()
    with use_user(bob):
        assert outline(kind) == WHOLE
