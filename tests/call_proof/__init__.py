"""Calls proven in front of your eyes: `make call-proof`."""
