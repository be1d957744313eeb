"""Django's own test suite, run with Django's SQLite backend and with ours, and compared test by test."""
