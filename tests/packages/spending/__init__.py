"""django-import-export: files in and out of the admin."""
