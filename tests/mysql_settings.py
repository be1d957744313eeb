"""Settings of a site with an app of both sides whose ``default`` is MariaDB or MySQL."""

from tests.bazaar_settings import *  # noqa: F403
from tests.mysql_site import database

DATABASES = {"default": database()}
# The app's history joins texts as SQLite does.
DATABASES["default"]["OPTIONS"] = {
    "charset": "utf8mb4",
    "init_command": "SET sql_mode = 'STRICT_TRANS_TABLES,PIPES_AS_CONCAT'",
}
