"""When long work saves its state, and the deadline at which it stops by itself: $COLA_UNTIL, in seconds since 1970."""

import os
import time

SAVE_EVERY_S = 20.0


def late() -> bool:
    return time.time() > float(os.environ.get("COLA_UNTIL", "inf"))


def stopped(what: str, at: str) -> ValueError:
    """Return the error that such work raises."""
    return ValueError(f"{what}: its time is up at {at}; run again, it goes on from there")
