"""What the paper measures, one file a protocol."""
