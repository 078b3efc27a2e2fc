"""Measurements of the library, and of others beside it on the same input.

``python -m tests.benchmarks`` runs them; nothing here decides a test.
"""
