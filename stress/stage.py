"""What everybody in one process shares: who takes part, the count, and what is handed over."""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from stress.tally import Boom, Tally

#: How many users of every hundred are deleted in the middle of everything.
DOOMED_PER_HUNDRED = 2

#: Objects and querysets that wait to be used as somebody else.
SHELF = 100

#: Primary keys of the users whom one process signs up and deletes start at a multiple of this.
GUESTS = 1_000_000


@dataclass(frozen=True)
class Person:
    """A user: the stamp is the user name, and tells two users who had the same key apart."""

    pk: int
    generation: int = 0
    doomed: bool = False

    @property
    def stamp(self) -> str:
        """Return the first word of everything this user writes."""
        return f"{self.pk}.{self.generation}"


class Cast:
    """The users of a run; the last of them may be deleted at any moment."""

    def __init__(self, *, users: int, process: int) -> None:
        self.users = users
        self.steady = users - max(1, users * DOOMED_PER_HUNDRED // 100)
        self.operator = Person(users + 1)
        self._guests: Iterator[int] = count((process + 1) * GUESTS)

    def anybody(self, rng: random.Random) -> Person:
        """Pick a user."""
        pk = rng.randint(1, self.users)
        return Person(pk, doomed=pk > self.steady)

    def steady_one(self, rng: random.Random, *, but: Person) -> Person:
        """Pick a user who stays, and is somebody else."""
        while (person := Person(rng.randint(1, self.steady))) == but:
            pass
        return person

    def doomed_one(self, rng: random.Random) -> Person:
        """Pick a user who may be deleted."""
        return Person(rng.randint(self.steady + 1, self.users), doomed=True)

    def guest(self) -> Person:
        """Return somebody who has not signed up yet and whom nobody else knows."""
        return Person(next(self._guests))


@dataclass(frozen=True)
class Handed:
    """Something that was loaded for a user and may be used as another."""

    owner: Person
    value: object


@dataclass
class Stage:
    """One process of a run."""

    cast: Cast
    tally: Tally
    shelf: deque[Handed] = field(default_factory=lambda: deque(maxlen=SHELF))


@dataclass(frozen=True)
class Scene:
    """Somebody who does something: chance, who it is, and where it is counted."""

    rng: random.Random
    me: Person
    stage: Stage

    @property
    def tally(self) -> Tally:
        """Return where everything is counted."""
        return self.stage.tally

    def as_person(self, person: Person) -> Scene:
        """Return the same as somebody else."""
        return Scene(self.rng, person, self.stage)

    def other(self) -> Person:
        """Pick somebody else."""
        return self.stage.cast.steady_one(self.rng, but=self.me)

    def chance(self, probability: float) -> bool:
        """Say yes as often as is asked."""
        return self.rng.random() < probability

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Go on after what fails on purpose."""
        try:
            yield
        except Boom as error:
            self.tally.refused(error)

    def text(self) -> str:
        """Return a text with the stamp."""
        return f"{self.me.stamp} {self.rng.getrandbits(40):x}"

    def token(self) -> str:
        """Return a word that nothing else has, in no other process either."""
        return uuid.uuid4().hex

    def check(self, texts: Iterable[str], *, how: str) -> None:
        """Count every text that is not this user's."""
        foreign = [text for text in texts if text.split(" ", 1)[0] != self.me.stamp]
        if foreign:
            self.tally.leaked(how, len(foreign), detail=f"{self.me.stamp} saw {foreign[0]!r}")


class Running:
    """Where the views find the stage of their process."""

    def __init__(self) -> None:
        self.stage: Stage | None = None

    def scene(self, *, seed: str, pk: int) -> Scene:
        """Return the scene that a request asks for."""
        if self.stage is None:
            raise RuntimeError("No stage was set.")
        person = Person(pk, doomed=self.stage.cast.steady < pk <= self.stage.cast.users)
        return Scene(random.Random(seed), person, self.stage)  # noqa: S311, because it is repeatable


running = Running()
