"""django-mptt: trees that raw SQL moves and rebuilds, each in one user's database."""

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from mptt.exceptions import InvalidMove
from mptt.utils import tree_item_iterator

from dsud import use_user
from dsud.exceptions import NoActiveUser, WrongUser
from tests.packages.conftest import migrations_of, open_as, tables
from tests.packages.folders.models import Folder, Paper


@pytest.fixture
def trees(each) -> dict[str, Folder]:
    """Give each user folders of the same keys: 1 over 2 and 3, 3 over 4, and 5 beside."""
    made = {}
    for user in each():
        root = Folder.objects.create(owner=user, name=f"a root of {user}")
        Folder.objects.create(owner=user, name="b first", parent=root)
        second = Folder.objects.create(owner=user, name="c second", parent=root)
        leaf = Folder.objects.create(owner=user, name="d leaf", parent=second)
        Folder.objects.create(owner=user, name="e beside")
        Paper.objects.create(folder=leaf, title=f"paper of {user}")
        made[user.username] = Folder.objects.get(pk=1)
    return made


def outline() -> list[str]:
    """Return the active user's tree as its numbers say, one line a node, indented by level."""
    return [f"{folder.level}{folder.name[0]}" for folder in Folder.objects.all()]


def places() -> list[tuple[int, ...]]:
    """Return every number that mptt keeps."""
    return list(Folder.objects.order_by("pk").values_list("pk", "tree_id", "lft", "rght", "level"))


WHOLE = ["0a", "1b", "1c", "2d", "0e"]


def test_tables_and_migrations__are_on_the_side_of_the_rows(trees, alice: User) -> None:
    assert "folders_folder" in tables(alice) - tables(None)
    assert migrations_of("folders", alice) == migrations_of("folders", None) == ["0001_initial"]


def test_trees_of_both__have_the_same_keys_and_shape(trees, each) -> None:
    numbers = []
    for user in each():
        assert outline() == WHOLE
        numbers.append(places())
        assert Folder.objects.filter(owner__username=user.username).count() == 5
        assert {folder.owner for folder in Folder.objects.select_related("owner", "parent")} == {
            user
        }
    assert numbers[0] == numbers[1]


def test_questions_about_nodes__are_answered_in_one_tree(trees, each) -> None:
    for user in each():
        leaf, root = Folder.objects.get(pk=4), Folder.objects.get(pk=1)
        assert [node.pk for node in leaf.get_ancestors(include_self=True)] == [1, 3, 4]
        assert [node.pk for node in root.get_descendants()] == [2, 3, 4]
        assert [node.pk for node in root.get_leafnodes()] == [2, 4]
        assert [node.pk for node in Folder.objects.get(pk=2).get_siblings()] == [3]
        assert [node.pk for node in root.get_family()] == [1, 2, 3, 4]
        assert leaf.get_root().name == f"a root of {user}"
        assert leaf.is_descendant_of(root)
        below = Folder.objects.get_queryset_descendants(Folder.objects.filter(pk=3))
        assert [node.pk for node in below] == [4]
        above = Folder.objects.filter(pk=4).get_ancestors(include_self=False)
        assert [node.pk for node in above] == [1, 3]
        counted = Folder.objects.add_related_count(
            Folder.objects.all(), Paper, "folder", "papers_below", cumulative=True
        )
        assert {node.pk: node.papers_below for node in counted} == {1: 1, 2: 0, 3: 1, 4: 1, 5: 0}
        assert [node.pk for node, _ in tree_item_iterator(Folder.objects.all())] == [1, 2, 3, 4, 5]
        cached = Folder.objects.all().get_cached_trees()
        assert [[child.pk for child in node.get_children()] for node in cached] == [[2, 3], []]


@pytest.mark.parametrize(
    ("node", "target", "position", "after"),
    [
        (3, 5, "first-child", ["0a", "1b", "0e", "1c", "2d"]),
        (3, 1, "first-child", ["0a", "1c", "2d", "1b", "0e"]),
        (3, 1, "left", ["0c", "1d", "0a", "1b", "0e"]),
        (1, 5, "last-child", ["0e", "1a", "2b", "2c", "3d"]),
        (5, 4, "right", ["0a", "1b", "1c", "2d", "2e"]),
        (5, 1, "left", ["0e", "0a", "1b", "1c", "2d"]),
    ],
)
def test_moving__rewrites_one_users_table(
    trees, alice: User, bob: User, node: int, target: int, position: str, after: list[str]
) -> None:
    with use_user(bob):
        before = places()
    with use_user(alice):
        Folder.objects.get(pk=node).move_to(Folder.objects.get(pk=target), position)
        assert outline() == after
        parents = list(Folder.objects.order_by("pk").values_list("pk", "parent_id"))
        moved = places()
        Folder.objects.rebuild()
        assert list(Folder.objects.order_by("pk").values_list("pk", "parent_id")) == parents
        assert len(moved) == len(places())
    with use_user(bob):
        assert places() == before


def test_move_that_fails__changes_nothing(trees, alice: User) -> None:
    with use_user(alice):
        before = places()
        with pytest.raises(InvalidMove):
            Folder.objects.get(pk=1).move_to(Folder.objects.get(pk=4))
        try:
            with transaction.atomic():
                Folder.objects.get(pk=3).move_to(Folder.objects.get(pk=5))
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert places() == before


def test_new_parent__moves_when_saved(trees, alice: User, bob: User) -> None:
    with use_user(alice):
        folder = Folder.objects.get(pk=3)
        folder.parent = Folder.objects.get(pk=5)
        folder.save()
        assert outline() == ["0a", "1b", "0e", "1c", "2d"]
    with use_user(bob):
        assert outline() == WHOLE


def test_deleting__takes_the_branch_in_one_database(trees, alice: User, bob: User) -> None:
    with use_user(alice):
        Folder.objects.get(pk=3).delete()
        assert outline() == ["0a", "1b", "0e"]
        assert Paper.objects.count() == 0
        Folder.objects.filter(pk=1).delete()
        assert outline() == ["0e"]
    with use_user(bob):
        assert outline() == WHOLE
        assert Paper.objects.count() == 1


def test_rebuilding__repairs_one_users_table(trees, alice: User, bob: User) -> None:
    with use_user(bob):
        Folder.objects.update(lft=0, rght=0, level=7, tree_id=3)
        broken = places()
    with use_user(alice):
        right = places()
        Folder.objects.update(lft=0, rght=0, level=7)
        Folder.objects.rebuild()
        assert places() == right
        Folder.objects.partial_rebuild(1)
        assert places() == right
    with use_user(bob):
        assert places() == broken
        Folder.objects.rebuild()
        assert places() == right


def test_updates_that_wait__are_made_in_one_database(trees, alice: User, bob: User) -> None:
    with use_user(alice):
        with Folder.objects.delay_mptt_updates():
            for number in range(3):
                Folder.objects.create(owner=alice, name=f"n{number}", parent_id=2)
        assert outline() == ["0a", "1b", "2n", "2n", "2n", "1c", "2d", "0e"]
        with Folder.objects.disable_mptt_updates():
            Folder.objects.create(owner=alice, name="z", parent_id=5)
        Folder.objects.rebuild()
        assert outline()[-2:] == ["0e", "1z"]
    with use_user(bob):
        assert outline() == WHOLE


READS = {
    "children": lambda node: list(node.get_children()),
    "descendants": lambda node: list(node.get_descendants()),
    "ancestors": lambda node: list(node.get_ancestors(include_self=True)),
    "siblings": lambda node: list(node.get_siblings(include_self=True)),
    "family": lambda node: list(node.get_family()),
    "leaves": lambda node: list(node.get_leafnodes()),
    "root": lambda node: Folder.objects.get(pk=node.get_root().pk),
    "next": lambda node: node.get_next_sibling(),
    "in a filter": lambda node: list(Folder.objects.filter(parent=node)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_anothers_node__is_not_looked_up_here(trees, alice: User, bob: User, read) -> None:
    with use_user(alice):
        hers = Folder.objects.get(pk=3 if read is READS["root"] else 1)
    with use_user(bob), pytest.raises(WrongUser):
        read(hers)


WRITES = {
    "save": lambda hers, his: hers.save(),
    "delete": lambda hers, his: hers.delete(),
    "move": lambda hers, his: hers.move_to(his, "last-child"),
    "move under": lambda hers, his: his.move_to(hers, "last-child"),
    "move beside": lambda hers, his: his.move_to(hers, "left"),
    "manager": lambda hers, his: Folder.objects.move_node(his, hers, "left"),
    "insert": lambda hers, his: Folder.objects.insert_node(
        Folder(name="new", owner_id=his.owner_id), hers, save=True
    ),
    "insert at": lambda hers, his: Folder(name="new", owner_id=his.owner_id).insert_at(
        hers, "left", save=True
    ),
    "parent": lambda hers, his: Folder.objects.create(
        name="new", owner_id=his.owner_id, parent=hers
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_anothers_node__changes_nothing_here(trees, bob: User, write) -> None:
    with use_user(bob):
        before = list(Folder.objects.order_by("pk").values_list())
        with pytest.raises(WrongUser):
            write(trees["alice"], Folder.objects.get(pk=5))
        assert list(Folder.objects.order_by("pk").values_list()) == before


def test_tree_with_nobody_active__raises(trees) -> None:
    with pytest.raises(NoActiveUser):
        list(Folder.objects.root_nodes())
    with pytest.raises(NoActiveUser):
        Folder.objects.rebuild()


def test_deleted_user__leaves_the_others_tree(trees, alice: User, bob: User) -> None:
    alice.delete()
    with use_user(bob):
        assert outline() == WHOLE


def test_admin__shows_moves_and_deletes_nodes_of_whom_is_switched_to(
    trees, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    page = browser.get("/admin/folders/folder/").content.decode()
    assert "a root of bob" in page
    assert "of alice" not in page

    move = {"cmd": "move_node", "cut_item": 3, "pasted_on": 5, "position": "last-child"}
    assert browser.post("/admin/folders/folder/", move).content == b"OK, moved."
    with use_user(bob):
        assert outline() == ["0a", "1b", "0e", "1c", "2d"]
    chosen = {"action": "delete_selected", "_selected_action": ["5"], "post": "yes"}
    assert browser.post("/admin/folders/folder/", chosen).status_code == 302
    with use_user(bob):
        assert outline() == ["0a", "1b"]
    with use_user(alice):
        assert outline() == WHOLE
