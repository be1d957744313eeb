from django.contrib.contenttypes.models import ContentType
from django.test import TestCase


class DiaryTestCase(TestCase):
    """A test after which, and before which, the rows of ContentType may have gone."""

    @classmethod
    def setUpClass(cls):
        ContentType.objects.clear_cache()  # Because some orders put tests that flush before others.
        super().setUpClass()

    def setUp(self):
        ContentType.objects.clear_cache()  # Because the test before was rolled back.
        super().setUp()
