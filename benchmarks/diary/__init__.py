"""One and the same small site for all contenders: a list of notes, and a new one."""
