"""A site whose users have databases of 25 tables."""
