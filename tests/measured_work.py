"""What the contender of the tests of the benchmarks can be asked to do."""

import os
import sys


def twice(*, number: int) -> int:
    sys.stdout.write("this is not the answer\n")
    return 2 * number


def fail() -> None:
    raise LookupError("nothing here")


def die() -> None:
    os._exit(3)


def surroundings() -> dict[str, str]:
    return {name: os.environ[name] for name in ("BENCH_DIRECTORY", "BENCH_MAX_OPEN")}
