"""Members under random faults for as long as one likes: ``python -m tests.soak --seconds 600 --seed 1``."""
