"""The dials that a person turns, and the plans that they resolve to."""
