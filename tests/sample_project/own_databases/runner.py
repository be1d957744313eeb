from django.test.runner import DiscoverRunner

from dsud.test_runner import UserDatabaseRunnerMixin


class OrderAsFoundRunner(UserDatabaseRunnerMixin, DiscoverRunner):
    """The household's own runner: it runs tests as they are found, whatever their classes are."""

    reorder_by = ()
