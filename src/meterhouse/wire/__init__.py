"""Bytes to values and back, used by server, client and tests alike. No I/O, no clock."""
