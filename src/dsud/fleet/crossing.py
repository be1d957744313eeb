"""How outcomes cross from a worker to the process that asked: errors with their causes, or their text."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import TypeVar

from dsud.exceptions import DSUDError
from dsud.fleet.outcomes import Outcome, Part

R = TypeVar("R")

#: Causes of causes that are kept.
DEEPEST = 10

#: Frames of a worker's traceback that are kept, the innermost ones.
FRAMES = 8

logger = logging.getLogger("dsud")


class WorkerError(DSUDError):
    """Raised in place of an error or a result that cannot be sent from a worker; has its text."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(kind, message)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def pack(outcome: Outcome[R], *, fatal: BaseException | None = None) -> bytes:
    """Return an outcome as bytes; ``fatal`` is what stops the whole run."""
    error = fatal or outcome.error
    head = outcome.user_key, outcome.seconds, fatal is not None, isinstance(outcome, Part)
    if error is not None:
        return pickle.dumps((*head, None, _links(error)))
    try:
        return pickle.dumps((*head, outcome.result, []))
    except Exception as refused:  # noqa: BLE001, because pickling runs code of the project
        unsent = WorkerError(
            type(outcome.result).__name__,
            f"the result was not sent from the worker, because it cannot be pickled: {refused}."
            " Return plain values, or pass workers=1",
        )
        return pickle.dumps((*head, None, _links(unsent)))


def unpack(packed: bytes) -> Outcome[R]:
    """Return the outcome again; raise what stops the whole run."""
    key, seconds, fatal, is_part, result, links = pickle.loads(packed)  # noqa: S301, because our own worker wrote it
    error = _chained(links) if links else None
    if fatal and error is not None:
        raise error
    kind: type[Outcome[R]] = Part if is_part else Outcome
    return kind(key, result, error, seconds)  # type: ignore[arg-type]


def _links(error: BaseException) -> list[tuple[bytes, bool]]:
    """Return an error and its causes, each with whether it was given by ``raise ... from``."""
    if not isinstance(error, DSUDError):  # Which say themselves what has happened.
        frames = "".join(traceback.format_tb(error.__traceback__)[-FRAMES:])
        error.add_note(f"In the worker:\n{frames}")
    links: list[tuple[bytes, bool]] = []
    link: BaseException | None = error
    while link is not None and len(links) < DEEPEST:
        links.append((_portable(link), link.__cause__ is not None))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return links


def _portable(error: BaseException) -> bytes:
    try:
        packed = pickle.dumps(error)
        if type(pickle.loads(packed)) is type(error):  # noqa: S301, because it was packed just now
            return packed
    except Exception:
        # Whatever it is, because pickling runs code of the project; its text is sent.
        logger.debug("An error cannot be sent from a worker as it is.", exc_info=True)
    text = WorkerError(type(error).__name__, str(error))
    text.__dict__.update({"__notes__": getattr(error, "__notes__", [])})
    return pickle.dumps(text)


def _chained(links: list[tuple[bytes, bool]]) -> BaseException:
    errors: list[BaseException] = [pickle.loads(packed) for packed, _ in links]  # noqa: S301, as above
    for error, cause, (_, given) in zip(errors, errors[1:], links, strict=False):
        if given:
            error.__cause__ = cause
        else:
            error.__context__ = cause
    return errors[0]
