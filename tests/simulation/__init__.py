"""Many coordinators in virtual time, with faults by schedule, and what must hold all along."""
