"""Settings of the example site with one database for everybody, as if dsud were not there."""

from notebook.settings import *
from notebook.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

INSTALLED_APPS = [each for each in INSTALLED_APPS if each != "dsud"]
MIDDLEWARE = [each for each in MIDDLEWARE if not each.startswith("dsud.")]
DATABASE_ROUTERS: list[str] = []
TEST_RUNNER = "django.test.runner.DiscoverRunner"
ROOT_URLCONF = "benchmarks.example_urls"
# The site's templates ask for a banner, which has nothing to show here.
TEMPLATES[0]["OPTIONS"]["libraries"] = {"dsud": "benchmarks.no_banner"}
