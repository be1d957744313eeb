"""Settings for each contender."""
