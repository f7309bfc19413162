"""Seconds in words, for what is said before and during a run."""


def duration(seconds: float) -> str:
    """Seconds in words: seconds, minutes or hours, and days where they are many."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
    days = f" ({seconds / 86400:.0f} days)" if seconds >= 3 * 86400 else ""
    return f"{seconds / 3600:,.1f} hours{days}"
