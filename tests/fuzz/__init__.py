"""What comes from outside may be any bytes. ``python -m tests.fuzz --seconds 60`` looks for those that do harm."""
