"""What is measured on the snapshots of finished runs: linear probes and video prediction."""
