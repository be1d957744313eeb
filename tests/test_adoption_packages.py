"""A site whose rows packages add to, and whose users have UUIDs, goes to user databases and back."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.sites import Site
from tests.workshop.sites import PLAIN

for package in ("taggit", "simple_history", "mptt", "treebeard"):
    pytest.importorskip(package, reason=f"{package} IS NOT TESTED: install it.")

SETTINGS = "tests.lab.settings"
OPTIONS = [
    "--owner",
    "lab.HistoricalPaper=author",
    "--copy",
    "taggit.Tag",
]

GENERATE = """
call_command("migrate", verbosity=0)
from tests.lab.models import *
for name, words in (("alice", ["red", "blue"]), ("bob", ["red", "green"])):
    user = Person.objects.create(username=name)
    for number in range(3):
        paper = Paper.objects.create(author=user, title=f"{number} by {name}")
        paper.tags.add(*words)
        paper.title += ", revised"
        paper._change_reason = "revised"
        paper._history_user = Person.objects.first()
        paper.save()
        first = Page.objects.create(paper=paper, text=f"first of {paper}")
        Page.objects.create(paper=paper, text=f"second of {paper}", after=first)
    root = Shelf.add_root(owner=user, name=f"of {name}")
    root.add_child(owner=user, name=f"below that of {name}")
    trunk = Branch.objects.create(owner=user, name=f"of {name}")
    Branch.objects.create(owner=user, parent=trunk, name=f"on that of {name}")
"""

SPLIT = """
import io
from tests.lab.models import *
from taggit.models import Tag, TaggedItem
call_command("split_to_user_dbs", *sys.argv[1:], stdout=io.StringIO())
for user in Person.objects.all():
    with use_user(user):
        words = {"red", "blue"} if user.username == "alice" else {"red", "green"}
        assert set(Tag.objects.values_list("name", flat=True)) == words
        assert Paper.objects.count() == 3
        assert Page.objects.filter(after__paper__title__contains=user.username).count() == 3
        paper = Paper.objects.order_by("pk").first()
        assert [each.history_type for each in paper.history.all()] == ["~", "+"]
        assert set(paper.tags.names()) == words
        assert TaggedItem.objects.filter(object_id=paper.pk).count() == 2
        root, = Shelf.get_root_nodes()
        assert [child.name for child in root.get_children()] == [f"below that of {user.username}"]
        trunk, = Branch.objects.root_nodes()
        assert trunk.get_descendant_count() == 1
call_command("split_to_user_dbs", "--delete-source", *sys.argv[1:], stdout=io.StringIO())
assert not Page.objects.using("default").exists()
"""


def rows(site: Site) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(site.directory / "default.sqlite3")) as database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND (name LIKE 'lab_%' OR name LIKE 'taggit_%')"
        ).fetchall()
        return {
            name: sorted(database.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in names
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    single = Site(tmp_path, settings="tests.lab.single_settings")
    finished = single.script(PLAIN + GENERATE)
    assert finished.returncode == 0, finished.stderr
    site = Site(tmp_path, settings=SETTINGS)
    site.run('call_command("migrate", verbosity=0)')
    return site


def test_round_trip__tags_history_trees_and_uuids(site: Site) -> None:
    before = rows(site)
    assert len(before["lab_historicalpaper"]) == 12
    site.run(SPLIT, *OPTIONS)
    finished = site.manage("merge_user_dbs", *OPTIONS)
    assert finished.returncode == 0, finished.stderr
    assert rows(site) == before


def test_split__history_says_who_changed_a_row_and_whose_it_was(site: Site) -> None:
    finished = site.manage("split_to_user_dbs", "--dry-run")
    assert finished.returncode == 2
    assert finished.stderr == (
        "CommandError: taggit.Tag: no key leads to an owner. Write --owner taggit.Tag=PATH, such as"
        " note__author, or --copy taggit.Tag to give each user a copy of the rows that the user's own"
        " rows point to.\n"
        "lab.HistoricalPaper: more than one key leads to an owner. Say which of them it is:\n"
        "  --owner lab.HistoricalPaper=author\n"
        "  --owner lab.HistoricalPaper=history_user\n"
    )
