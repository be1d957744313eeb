"""Notes, where one database holds those of everybody."""
