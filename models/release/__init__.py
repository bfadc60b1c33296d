"""Canary release: who meets which version."""
