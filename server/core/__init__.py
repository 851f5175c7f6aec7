"""Decisions without I/O: input is a method call with `now`, output is a value. Imports no clock, socket, task or driver."""
