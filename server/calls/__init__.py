"""Calls on this node: requests become events, events decisions, decisions rows and entries, and those are told."""
