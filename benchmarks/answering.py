"""The process of a contender: it does what it is told, one line at a time.

Runs in environments of their own too, so it imports nothing but the standard library and Django.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable


def main() -> None:
    """Call functions of the module that is named, as lines on the standard input ask for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # because whatever prints would be taken for an answer
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django

        django.setup()
    work = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(_answer(getattr(work, asked["call"]), asked["arguments"])) + "\n")
        answers.flush()


def _answer(function: Callable[..., object], arguments: dict[str, object]) -> dict[str, object]:
    try:
        return {"found": function(**arguments)}
    except Exception:  # noqa: BLE001, because the process that asked raises it
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    main()
