"""The Notes application: an ordinary Django app whose rows live in a database per user."""
