"""How each contender makes a user's place, and acts as a user outside requests; `WAY` in the settings names one."""
