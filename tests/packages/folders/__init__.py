"""django-mptt: trees that raw SQL moves."""
