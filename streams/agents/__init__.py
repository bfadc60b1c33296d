"""Faust agents, one file each. `requests` is the one to read first."""
