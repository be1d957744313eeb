"""Execute the blocks of Python that the argument has as JSON, in one namespace, as a reader would."""

import doctest
import json
import sys

import django


def main() -> None:
    django.setup()
    namespace: dict[str, object] = {"__name__": "documentation"}
    for block in json.loads(sys.argv[1]):
        if block["text"].startswith(">>> "):
            compare(block, namespace)
        else:
            exec(compile(block["text"], block["name"], "exec"), namespace)


def compare(block: dict[str, str], namespace: dict[str, object]) -> None:
    """Execute what was typed at a prompt and compare what it prints."""
    test = doctest.DocTestParser().get_doctest(block["text"], {}, block["name"], None, 0)
    test.globs = namespace
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    if runner.run(test, clear_globs=False).failed:
        sys.exit(1)


main()
