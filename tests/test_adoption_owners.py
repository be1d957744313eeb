"""Owner paths: which are found along the keys of models, and which must be given."""

from collections.abc import Iterator, Mapping

import pytest
from django.contrib.auth.models import User
from django.db import models
from django.test.utils import isolate_apps

from dsud.adoption.owners import InvalidOwnerPath, OwnerPathUnclear, Search, given_path
from dsud.adoption.paths import AnyModel


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolate_apps("tests"):
        yield


def to(model: object, **options: object) -> "models.ForeignKey[object, object]":
    return models.ForeignKey(model, on_delete=models.CASCADE, related_name="+", **options)


def make(name: str, base: type[models.Model] = models.Model, **fields: object) -> AnyModel:
    meta = type("Meta", (), {"app_label": "tests"})
    return type(name, (base,), {"__module__": __name__, "Meta": meta, **fields})


def searched(
    *found: AnyModel, given: Mapping[str, str] | None = None, copied: tuple[str, ...] = ()
) -> tuple[dict[str, str], dict[str, list[str]]]:
    search = Search(found, given=given or {}, copied=copied)
    paths = {model.__name__: str(path) for model, path in search.run().items()}
    return paths, {model.__name__: names for model, names in search.ambiguous.items()}


def test_search__key_and_chain_of_keys() -> None:
    note = make("Note", author=to(User))
    line = make("Line", note=to(note))
    mark = make("Mark", line=to(line))
    assert searched(mark, line, note) == (
        {"Note": "author", "Line": "note__author", "Mark": "line__note__author"},
        {},
    )


def test_search__shortest_path_wins_over_longer_ones() -> None:
    note = make("Note", author=to(User))
    line = make("Line", note=to(note), writer=to(User))
    assert searched(note, line) == ({"Note": "author", "Line": "writer"}, {})


def test_search__two_keys_to_users_are_ambiguous_also_when_one_may_be_empty() -> None:
    note = make("Note", author=to(User), reviewer=to(User, null=True))
    line = make("Line", note=to(note))
    found = Search([note, line], given={}, copied=[])
    assert found.run() == {}
    assert found.ambiguous == {note: ["author", "reviewer"]}
    assert searched(note, line, given={"tests.note": "author"}) == (
        {"Note": "author", "Line": "note__author"},
        {},
    )


def test_search__two_chains_are_ambiguous_unless_only_one_is_never_empty() -> None:
    note, folder = make("Note", author=to(User)), make("Folder", owner=to(User))
    either = make("Either", note=to(note), folder=to(folder))
    sure = make("Sure", note=to(note, null=True), folder=to(folder))
    assert searched(note, folder, either, sure) == (
        {"Note": "author", "Folder": "owner", "Sure": "folder__owner"},
        {"Either": ["note__author", "folder__owner"]},
    )


def test_search__row_of_a_child_is_its_parents() -> None:
    note = make("Note", author=to(User))
    child = make("Child", note, reader=to(User))
    assert searched(child, note)[0] == {"Note": "author", "Child": "note_ptr__author"}


def test_search__row_between_two_tables_is_of_the_side_that_names_it() -> None:
    tag = make("Tag", owner=to(User))
    note = make(
        "Note",
        author=to(User),
        tags=models.ManyToManyField(tag, related_name="+"),
        friends=models.ManyToManyField("self", related_name="+"),
        readers=models.ManyToManyField(User, related_name="+"),
    )
    tables = [note.tags.through, note.friends.through, note.readers.through]
    assert searched(tag, note, *tables) == (
        {
            "Tag": "owner",
            "Note": "author",
            "Note_tags": "note__author",
            "Note_friends": "from_note__author",
            "Note_readers": "note__author",
        },
        {},
    )


def test_search__circles_and_keys_to_itself_end() -> None:
    tree = make("Tree", parent=to("self"))
    first = make("First", second=to("Second"))
    second = make("Second", first=to(first))
    owned = make("Owned", parent=to("self"), owner=to(User))
    assert searched(tree, first, second, owned) == ({"Owned": "owner"}, {})


def test_search__copies_are_only_those_that_are_named() -> None:
    word = make("Word")
    note = make("Note", author=to(User), words=models.ManyToManyField(word, related_name="+"))
    through = note.words.through
    assert "Word" not in searched(word, note, through)[0]
    paths = searched(word, note, through, copied=("tests.Word",))[0]
    assert paths["Word"] == "copies, by tests.Note_words.word"


def test_unclear__names_what_to_write() -> None:
    error = OwnerPathUnclear({"notes.Note": ["author", "reviewer"], "notes.Tag": []})
    assert str(error) == (
        "notes.Note: more than one key leads to an owner. Say which of them it is:\n"
        "  --owner notes.Note=author\n"
        "  --owner notes.Note=reviewer\n"
        "notes.Tag: no key leads to an owner. Write --owner notes.Tag=PATH, such as note__author,"
        " or --copy notes.Tag to give each user a copy of the rows that the user's own rows point to."
    )


def test_given_path__through_any_rows_that_are_one_each() -> None:
    note = make("Note", author=to(User), writer_id=models.IntegerField())
    one = models.OneToOneField(note, on_delete=models.CASCADE, related_name="face")
    face = make("Face", note=one, owner=to(User))
    assert str(given_path(face, "note__author")) == "note__author"
    assert str(given_path(face, "note__author__pk")) == "note__author"
    assert str(given_path(note, "face__owner")) == "face__owner"
    assert str(given_path(note, "writer_id")) == "writer_id"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nobody", "--owner tests.Note=nobody: tests.Note has no field 'nobody'."),
        ("author__nobody", "--owner tests.Note=author__nobody: auth.User has no field 'nobody'."),
        ("tags", "--owner tests.Note=tags: 'tags' leads to more than one row."),
        ("other", "--owner tests.Note=other: it leads to tests.Note and not to auth.User."),
    ],
)
def test_given_path__that_leads_elsewhere(path: str, message: str) -> None:
    tag = make("Tag")
    tags = models.ManyToManyField(tag, related_name="+")
    note = make("Note", author=to(User), tags=tags, other=to("self"))
    with pytest.raises(InvalidOwnerPath) as caught:
        given_path(note, path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options", [{"given": {"tests.Nobody": "x"}}, {"copied": ["tests.Nobody"]}]
)
def test_search__option_that_names_no_user_model(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOwnerPath) as caught:
        Search([make("Note")], **{"given": {}, "copied": (), **options})
    option = "--owner" if "given" in options else "--copy"
    assert str(caught.value) == (
        f"{option} tests.Nobody: that is no user model with a table in `default`."
    )
