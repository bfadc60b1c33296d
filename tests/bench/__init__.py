"""Benchmarks: canarec beside peers in the same run. `make bench`; nothing here is collected by pytest."""
