"""Which workers to start, and when: pure."""

#: A worker that dies before it is this old, in seconds, counts as "died young".
YOUNG = 2.0


def restart_delay(young_deaths: int) -> float:
    """Seconds to wait before the next start, after so many young deaths in a row.

    The first restart is immediate; then 0.2, 0.4, … up to 10 seconds.
    """
    return 0.0 if young_deaths <= 1 else min(0.1 * 2 ** min(young_deaths - 1, 20), 10.0)


def missing_slots(used: set[int], limit: int) -> list[int]:
    """Numbers below `limit` that no living worker has, smallest first."""
    return [slot for slot in range(limit) if slot not in used]
