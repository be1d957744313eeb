"""django-taggit: tags by generic relations."""
