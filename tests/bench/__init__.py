"""`make bench`: how fast and how small the backend is, beside others, on this machine."""
