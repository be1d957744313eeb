"""A site of other people's packages, whose tables are in user databases."""
