"""States that events and the rooms above share."""

from __future__ import annotations

from enum import StrEnum


class ServiceState(StrEnum):
    PENDING = "pending"  # a dependency is not there yet
    STARTING = "starting"  # its unit is being started
    CHECKING = "checking"  # its unit runs, its checks do not all pass yet
    HEALTHY = "healthy"  # a daemon or target whose checks passed
    COMPLETED = "completed"  # a oneshot that exited with 0 and whose checks passed
    FAILED = "failed"
    SKIPPED = "skipped"  # something it needs failed
    STOPPED = "stopped"  # taken down on purpose

    @property
    def settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self not in (ServiceState.PENDING, ServiceState.STARTING, ServiceState.CHECKING)
