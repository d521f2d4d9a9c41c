"""Number of examples that hypothesis tries: all of them, or fewer for quick results."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["PROFILES", "examples"]

# By default, hypothesis fails tests that take long; here no test depends on time.
FULL = settings(deadline=None, print_blob=True, max_examples=100)
PROFILES = {
    "full": FULL,
    "quick": settings(FULL, max_examples=20),  # different ones in each run
}


def examples(number: int) -> settings:
    """Return settings with this number of examples, scaled down by the active profile."""
    return settings(max_examples=max(number * settings().max_examples // FULL.max_examples, 1))
