"""A moment at which long work ends of its own, with its state kept: $COLA_UNTIL, in seconds since 1970."""

import os
import time


def late() -> bool:
    return time.time() > float(os.environ.get("COLA_UNTIL", "inf"))


def stopped(what: str, at: str) -> ValueError:
    """What such work raises."""
    return ValueError(f"{what}: its time is up at {at}; run again, it goes on from there")
