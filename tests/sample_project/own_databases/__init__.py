"""Tests of a household in which everybody has a database of their own."""
