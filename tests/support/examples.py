"""How many examples hypothesis tries: all of them, or fewer for who waits for the result."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["PROFILES", "examples"]

# No test asserts a time; hypothesis would, by default.
FULL = settings(deadline=None, print_blob=True, max_examples=100)
PROFILES = {
    "full": FULL,
    "quick": settings(FULL, max_examples=20),  # others each time, so that they add up
}


def examples(number: int) -> settings:
    """Try so many examples, or as large a part of them as the profile says."""
    return settings(max_examples=max(number * settings().max_examples // FULL.max_examples, 1))
