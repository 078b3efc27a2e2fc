"""Exclusive groups under faults: no two processes may ever work on one resource at the same time.

Processes under ``run()`` write down, on a clock that all of them share, when each piece of work starts and stops. They
join, leave, are killed and are cut off by silent networks; servers are killed. Then the intervals are compared.
"""
