"""The project that serves the Notes example."""
