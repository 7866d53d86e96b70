"""Whether the nights that are installed here will begin."""

from __future__ import annotations

from orchestrator.cli.doctor_items import Item, State
from orchestrator.nightly.installing import Systemd, lingers


async def nights() -> list[Item]:
    """The timers of nights; nothing where there is none."""
    systemd = Systemd.of_this_user()
    timers = sorted(path.name for path in systemd.folder.glob("orchestrator-*-night.timer"))
    if not timers:
        return []
    text = ", ".join(timers)
    if await lingers():
        return [Item("nights", State.OK, text)]
    why = "services of a user end with the last login, and no timer fires then"
    return [Item("nights", State.WARNING, text, why, "loginctl enable-linger")]
