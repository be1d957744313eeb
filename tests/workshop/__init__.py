"""A site with one database for everybody, written before it knew of user databases."""
