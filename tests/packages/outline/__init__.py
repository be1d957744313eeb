"""django-treebeard: trees of three kinds."""
