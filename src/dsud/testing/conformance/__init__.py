"""The tests that every engine passes, ours and others'; how to use them is in "Write an engine"."""

from __future__ import annotations

from dsud.testing.conformance.abilities import (
    AttachTests,
    CopyTests,
    LastWrittenTests,
    ReadingTests,
    ReadOnlyTests,
    SnapshotTests,
    StampTests,
)
from dsud.testing.conformance.columns import ColumnTests, ConstraintTests, MigrationTests
from dsud.testing.conformance.cursors import HookTests, LeaseTests
from dsud.testing.conformance.judging import JudgingTests
from dsud.testing.conformance.keys import KeyTests
from dsud.testing.conformance.places import DeletionTests, PlaceTests
from dsud.testing.conformance.ranges import DistinctKeyTests
from dsud.testing.conformance.staging import StagingTests
from dsud.testing.conformance.surroundings import (
    CheckTests,
    FileTests,
    LocationTests,
    LockTests,
    TemplateTests,
)
from dsud.testing.conformance.transactions import ProcessTests, TransactionTests

__all__ = ["EngineConformance"]


class EngineConformance(
    KeyTests,
    StagingTests,
    PlaceTests,
    DeletionTests,
    LockTests,
    LocationTests,
    TemplateTests,
    FileTests,
    CheckTests,
    HookTests,
    JudgingTests,
    LeaseTests,
    TransactionTests,
    ProcessTests,
    ColumnTests,
    ConstraintTests,
    MigrationTests,
    DistinctKeyTests,
    ReadOnlyTests,
    ReadingTests,
    LastWrittenTests,
    SnapshotTests,
    CopyTests,
    StampTests,
    AttachTests,
):
    """The tests of an engine: subclass it and set ``engine`` to an entry of ``USER_DATABASES``.

    ``LOCATION`` is given by the suite, anew for each test. The settings need ``dsud`` and
    ``django.contrib.auth`` in ``INSTALLED_APPS`` and a database ``default``; no model and no app of
    the suite has to be installed.
    """
