"""The demo's people and what they have written, each in a database of their own."""

from datetime import timedelta
from pathlib import Path

from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone

from dsud import use_user
from notes.models import Note, Tag

SUPERUSER = "admin"
SampleNote = tuple[str, str, list[str]]  # title, body, tags

# User name to notes, the newest note first.
SAMPLE_NOTES: dict[str, list[SampleNote]] = {
    "alice": [
        (
            "Pumpkin soup",
            "Roast the pumpkin first, that is the whole secret.\n"
            "Onion, ginger, a spoon of curry, stock, then blend. Toasted seeds on top.",
            ["recipe", "winter"],
        ),
        (
            "Before the first frost",
            "Dahlias out, fleece over the chard, drain the hose, bring in the lemon tree.",
            ["garden", "winter"],
        ),
        (
            "Seeds to order",
            "Sugar snap peas, black kale, marigold.\n"
            "The tomatoes from last year kept well: save some of their own seed.",
            ["garden", "shopping"],
        ),
        (
            "Library",
            "“The Summer Book” is due on the 30th.\nAsk for anything else by Tove Jansson.",
            ["books"],
        ),
        (
            "Sourdough timetable",
            "21:00 feed the starter\n07:30 mix, four folds\n12:00 shape\n17:00 bake at 240 °C",
            ["recipe"],
        ),
        (
            "Birthday for Mum",
            "A day at the botanical garden, lunch in the palm house, and the good camera.",
            ["family", "garden"],
        ),
    ],
    "bob": [
        (
            "Chain and cassette",
            "Chain at 0.75 %: replace it now and the cassette lives another winter.\n"
            "Eleven speed, 118 links.",
            ["bike", "shopping"],
        ),
        (
            "Sunday loop",
            "Along the canal to the old mill, up through the beech wood, back by the dyke.\n"
            "62 km, coffee at kilometre 40.",
            ["bike", "routes"],
        ),
        (
            "Bookshelf, third attempt",
            "Oak, 28 mm. Cut the dados before gluing up the sides, not after.",
            ["workshop"],
        ),
        (
            "Chords for Thursday",
            "Bm7 – E9 – Amaj7\nHold the last one, wait for the bass.",
            ["music"],
        ),
        (
            "Ask at work",
            "Can the Tuesday review move to ten? The early train is gone from December.",
            ["work"],
        ),
    ],
    "carol": [
        (
            "Irregular verbs, again",
            "andare: vado, vai, va, andiamo, andate, vanno\n"
            "Write three sentences with each before Monday.",
            ["italian"],
        ),
        (
            "Questions for the seminar",
            "Why does the author trust the second letter and not the first?\n"
            "Which of the two was meant to be read aloud?",
            ["history", "reading"],
        ),
        (
            "Flat",
            "Water the fern on Wednesdays. Meter reading is due. Light bulb in the hall: E14.",
            ["home"],
        ),
        (
            "Films to see",
            "Everything by Varda, in order, with a notebook.",
            ["films"],
        ),
    ],
}


def fill() -> None:
    """Make the superuser, the people and their notes, where they are missing."""
    enrol(SUPERUSER, is_superuser=True)
    for name, notes in SAMPLE_NOTES.items():
        write_notes(enrol(name), notes)


def enrol(name: str, *, is_superuser: bool = False) -> User:
    create = User.objects.create_superuser if is_superuser else User.objects.create_user
    enrolled = User.objects.filter(username=name).first()
    return enrolled or create(name, password=password_of(name))


def password_of(name: str) -> str:
    return f"{name}-demo"


def write_notes(user: User, notes: list[SampleNote]) -> None:
    """Write the sample notes of a user who has no note yet."""
    with use_user(user), transaction.atomic(using=Note.objects.db):
        if Note.objects.exists():
            return
        for place, (title, body, tags) in enumerate(notes):
            note = Note.objects.create(title=title, body=body)
            note.tags.set([Tag.objects.get_or_create(name=tag)[0] for tag in tags])
            written = timezone.now() - timedelta(days=3 * place)
            Note.objects.filter(pk=note.pk).update(created=written, updated=written)


def file_of(name: str) -> Path:
    with use_user(User.objects.get(username=name)):
        return Path(connections[Note.objects.db].settings_dict["NAME"])
