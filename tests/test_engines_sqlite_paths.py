"""Which directory belongs to which user: for any key at all."""

import hashlib
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsud.engines.sqlite.paths import directory_name, key_of, uri_of, user_directory
from dsud.exceptions import InvalidUserKey

COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
LONE_SURROGATE = "\ud800"

#: What people and attackers call themselves, all different from each other.
AWKWARD = [
    "../x", "..", ".", "/", "/etc/passwd", "a/b", "a\\b", "~", "-rf", " ", "a b", "a.b", "ab", "a_b", "a-b", "_", "_61",
    "a", "Bob", "bob", "BOB", "con", "CON", "Con", "_63on", "nul", "nul.txt", "com1", "COM1", "lpt9", "com10", "a.", "a ",
    COMPOSED, DECOMPOSED, "ß", "ss", "SS", "\u0131", "i", "İ", "ﬁ", "fi", "名前", "😀", "\n", "\t", "\x7f", "%2e%2e", ":", "a:b", "*", "?",
    "1", "01", "-1", "1 ", "\uff11", str(uuid.UUID(int=7)), uuid.UUID(int=7).hex, "new-abc", "1.deleted", ".template", ".dsud", "lock",
]  # fmt: skip

keys = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
    st.text("aAbB._-/\\ con", min_size=1, max_size=8),
    st.integers().map(str),
    st.uuids().map(str),
    st.sampled_from(AWKWARD),
)


def spelt_or_refused(key: str) -> str | None:
    try:
        return directory_name(key)
    except InvalidUserKey:
        return None


@given(keys)
@example("con")
@example("x" * 240)
def test_directory_name__is_safe_for_any_key(key: str) -> None:
    name = spelt_or_refused(key)
    if name is None:
        assert "\0" in key or len(key.encode()) * 3 > 240
        return
    assert re.fullmatch(r"[a-z0-9_-]+", name)
    assert len(name) <= 240
    assert name == name.lower()
    assert not re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", name)


@given(keys)
def test_directory_name__is_reversible(key: str) -> None:
    name = spelt_or_refused(key)
    assert name is None or key_of(name) == key


@given(keys, keys)
@example("con", "_63on")
@example(COMPOSED, DECOMPOSED)
def test_directory_name__is_injective_also_where_case_is_folded(one: str, other: str) -> None:
    names = spelt_or_refused(one), spelt_or_refused(other)
    assert one == other or None in names or names[0].casefold() != names[1].casefold()


def test_directory_name__awkward_keys_are_told_apart() -> None:
    assert len(set(AWKWARD)) == len(AWKWARD)
    assert len({directory_name(key) for key in AWKWARD}) == len(AWKWARD)


@given(st.text(max_size=20))
def test_key_of__other_names_spell_no_key(name: str) -> None:
    key = key_of(name)
    assert key is None or directory_name(key) == name


@pytest.mark.parametrize(
    "name", ["lost+found", "Bob", "_zz", "_2", "_ff", "con", "", "_00", "_61", "x" * 241]
)
def test_key_of__name_that_we_never_write(name: str) -> None:
    assert key_of(name) is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "it is empty"),
        ("a\0b", "it contains NUL"),
        (LONE_SURROGATE, "it is not valid Unicode"),
        ("x" * 300, "its path would need 300 bytes of 240"),
        ("é" * 41, "its path would need 246 bytes of 240"),
    ],
)
def test_directory_name__key_that_no_database_can_have(key: str, reason: str) -> None:
    with pytest.raises(InvalidUserKey) as caught:
        directory_name(key)
    assert str(caught.value) == f"{key!r:.80} cannot name a user database: {reason}."
    assert caught.value.value == key


def test_user_directory__stays_below_the_location() -> None:
    location = Path("/srv/users")
    for key in AWKWARD:
        parts = user_directory(location, key).relative_to(location).parts
        assert parts == (hashlib.sha256(parts[1].encode()).hexdigest()[:2], directory_name(key))


def test_user_directory__fans_out_over_256_directories() -> None:
    fans = {user_directory(Path("/"), str(number)).parent.name for number in range(4000)}
    assert fans == {f"{number:02x}" for number in range(256)}


@pytest.mark.parametrize("name", ["a?mode=rwc", "a#b", "a%41", "a b", "é", "a\udcffb"])
def test_uri_of__path_cannot_change_the_mode(tmp_path: Path, name: str) -> None:
    import sqlite3

    path = tmp_path / name
    with pytest.raises(sqlite3.OperationalError, match="unable to open database file"):
        sqlite3.connect(uri_of(path, mode="rw"), uri=True)
    path.touch()
    sqlite3.connect(uri_of(path, mode="rw"), uri=True).close()
    assert list(tmp_path.iterdir()) == [path]
