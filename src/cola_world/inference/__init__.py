"""Use a trained model: export it, read the actions of a video, imagine."""
