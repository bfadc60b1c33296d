"""Batch work: importing, training, evaluating. Imports nothing from `streams` but `streams.clients`."""
