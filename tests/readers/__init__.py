"""`make readers`: who reads a repository while others publish into it, and are killed, never sees a
broken one."""
