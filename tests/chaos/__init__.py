"""A farm of real builds, a seeded killer, and what must still be true afterwards."""
