"""A randomized run that tries to make one user's rows reach another user, and counts how often it did."""
