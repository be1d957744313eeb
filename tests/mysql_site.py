"""What settings of a site need whose ``default`` is MariaDB or MySQL: where it is, and a driver."""

import os

#: Where the server listens, and the database of the site on it.
SOCKET, NAME = "DSUD_TEST_MYSQL_SOCKET", "DSUD_TEST_MYSQL_NAME"


def install_driver() -> None:
    """Let Django import mysqlclient or, where nobody has compiled that, PyMySQL in its place."""
    try:
        import MySQLdb  # noqa: F401
    except ImportError:
        import pymysql

        pymysql.install_as_MySQLdb()


def database() -> dict[str, object]:
    """Return the settings of the database that the environment names."""
    install_driver()
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": os.environ[NAME],
        "USER": "root",
        "HOST": os.environ[SOCKET],
        "OPTIONS": {"charset": "utf8mb4"},
    }
