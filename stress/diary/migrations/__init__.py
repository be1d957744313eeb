"""The schema of the diary."""
