"""Which benchmarks there are, and which of them a quick run has time for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import (
    fleet,
    fleet_queries,
    overhead,
    pressure,
    request,
    scale,
    split,
    testing,
)
from benchmarks.figures import Report

BENCHMARKS: Mapping[str, Callable[..., Report]] = {
    "fleet": fleet.run,
    "fleet_queries": fleet_queries.run,
    "overhead": overhead.run,
    "pressure": pressure.run,
    "request": request.run,
    "scale": scale.run,
    "split": split.run,
    "tests": testing.run,
}

#: What `--quick` runs unless it is told names: together less than three minutes.
QUICK = ["tests", "split"]
