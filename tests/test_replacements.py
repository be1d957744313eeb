"""Parts of Django are replaced once, whoever else replaces them."""

import functools
from collections.abc import Callable

from dsud.replacements import put_into_place


class Part:
    def answer(self) -> list[str]:
        return ["the part"]


def adding(text: str) -> Callable[..., Callable[..., list[str]]]:
    def wrap(method: Callable[..., list[str]]) -> Callable[..., list[str]]:
        @functools.wraps(method)
        def wrapped(self: Part) -> list[str]:
            return [text, *method(self)]

        return wrapped

    return wrap


def test_put_into_place__once_also_where_somebody_else_was_first() -> None:
    """A guard was left out wherever another package had wrapped the same method."""
    setattr(Part, "answer", adding("somebody else")(Part.answer))  # noqa: B010
    for _ in range(2):
        put_into_place([(Part, "answer", adding("a guard"))])
    assert Part().answer() == ["a guard", "somebody else", "the part"]
