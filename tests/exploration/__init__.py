"""Exploration: small crews in virtual time, with a fault at every turn of the event loop, and checks after each.

``python -m tests.exploration --seconds 3600`` runs for long; ``--replay`` repeats one attempt that was printed, and
``--handoff`` goes through all interleavings of small handoffs.
"""
