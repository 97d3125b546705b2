"""Fault injectors for tests and continuous integration: see tools/README.md."""
