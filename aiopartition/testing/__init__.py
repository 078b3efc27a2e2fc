"""Tools for testing services that use coordinators: other members and simulated faults, on ``memory://``.

With pytest, the fixture ``partition_cluster`` gives each test a :class:`PartitionCluster` of its own::

    async def test_the_share_of_a_dead_member_is_taken_over(partition_cluster):
        async with Service(partition_cluster.url) as service:
            await partition_cluster.join("other", "devices")
            await partition_cluster.settle("devices")
            await partition_cluster.kill("other")
            await partition_cluster.settle("devices")
            assert set(service.polled) == set(DEVICES)

This takes milliseconds on a :class:`VirtualTimeLoop`, and the session timeout on any other loop. The functions
:func:`cut_off`, :func:`silence`, :func:`reconnect` and :func:`expire` need only a coordinator. They return at once; the
effects follow in the background, as in production.
"""

from aiopartition.testing.cluster import PartitionCluster
from aiopartition.testing.faults import cut_off, expire, reconnect, silence
from aiopartition.testing.virtual_time import VirtualTimeLoop

__all__ = ["PartitionCluster", "VirtualTimeLoop", "cut_off", "expire", "reconnect", "silence"]
