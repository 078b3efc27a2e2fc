"""Several taskiq schedulers: all of them have all schedules, and each schedule is sent by one of them.

AIOPARTITION_BACKEND_URL=zookeeper://localhost/taskiq taskiq scheduler examples.taskiq_scheduler:scheduler

taskiq itself allows one scheduler only: two send each task twice. Here, several run, and the others take over if one
dies. Without the variable, partitioning is off: the one scheduler sends everything.
"""

from taskiq import InMemoryBroker, ScheduledTask, TaskiqScheduler
from taskiq.exceptions import ScheduledTaskCancelledError
from taskiq.schedule_sources import LabelScheduleSource

from aiopartition import GroupPolicy, PartitionCoordinator

broker = InMemoryBroker()  # a real service has one that sends tasks to its workers


class SharedScheduleSource(LabelScheduleSource):
    """The schedules of all tasks; this scheduler sends those that belong to it when they are due."""

    async def startup(self) -> None:
        await super().startup()
        self.coordinator = PartitionCoordinator.from_env()
        await self.coordinator.start()
        if self.coordinator.is_active():
            await self.coordinator.join_group("schedules", policy=GroupPolicy(exclusive=True))

    async def shutdown(self) -> None:
        await self.coordinator.stop()

    async def pre_send(self, task: ScheduledTask) -> None:
        # The id has to be given with the schedule: by default each process draws another one.
        if not await self.coordinator.extract_my_subset("schedules", [task.schedule_id]):
            raise ScheduledTaskCancelledError


@broker.task(schedule=[{"interval": 1, "schedule_id": "bill"}])
async def bill() -> None:
    print("bill was sent", flush=True)


@broker.task(schedule=[{"interval": 1, "schedule_id": "clean up"}])
async def clean_up() -> None:
    print("clean up was sent", flush=True)


scheduler = TaskiqScheduler(broker, [SharedScheduleSource(broker)])
