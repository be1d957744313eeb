"""None: the tables of the app are whatever a test migrates."""
