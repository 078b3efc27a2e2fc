"""Exploration: small fleets in virtual time, with a fault at every turn of the event loop, and checks after each.

``python -m tests.exploration --seconds 3600`` runs for long; ``--replay`` repeats one schedule that was printed, and
``--handoff`` goes through all interleavings of small handoffs.
"""
