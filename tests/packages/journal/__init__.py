"""django-simple-history: historical models."""
