"""Public weight files that come in, and trained models that go out as folders."""
