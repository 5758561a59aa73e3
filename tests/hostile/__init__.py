"""Source packages that attack the machine they are built on, and what must come of each."""
