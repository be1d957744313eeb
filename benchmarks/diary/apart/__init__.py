"""Notes, where every user has a database or a schema of their own."""
