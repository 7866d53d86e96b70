"""PostgreSQL restarted, migrations run again, the server rebooted: READY again, and nothing was done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Shared
from host import Host

RECORDED = (
    "runuser -u postgres -- psql -XtA -d alicia -c 'select version, applied_at from schema_migrations order by 1'"
)
TITLES = "curl -sS -m 30 http://server/api/v1/conversations?limit=100"
TITLE = "kept through a reboot"


@pytest.fixture(scope="module")
def recorded(shared: Shared) -> Iterator[str]:
    """Migrations with the moments they were applied; and a conversation that must survive."""
    body = json.dumps({"title": TITLE})
    shared.host.guest(
        "client",
        f"curl -sS -f -m 30 -H 'Content-Type: application/json' -d '{body}' http://server/api/v1/conversations",
    )
    yield shared.host.guest("server", RECORDED)


def test_a_restart_of_postgresql_proves_all_that_rests_on_it(vm: Host, recorded: str) -> None:
    before = vm.guest("server", "systemctl show -p MainPID --value postgresql alicia mock-llm | paste -s")
    done = vm.run("restart", "postgresql", limit=200).expect(
        0, "READY", "service nginx: healthy", "service client: healthy"
    )
    assert "service mock-llm" not in done.stderr
    after = vm.guest("server", "systemctl show -p MainPID --value postgresql alicia mock-llm | paste -s")
    old, new = before.split(), after.split()
    assert old[0] != new[0] and old[1] != new[1] and old[2] == new[2]
    assert vm.guest("server", RECORDED) == recorded
    assert TITLE in vm.guest("client", TITLES)


def test_a_second_run_of_the_migrations_applies_nothing(vm: Host, recorded: str) -> None:
    said = vm.guest("server", "systemctl restart alicia-migrate && journalctl -u alicia-migrate -n 5 -o cat --no-pager")
    assert f"Migrations: 0 applied, {len(recorded.splitlines())} were there already" in said
    assert vm.guest("server", RECORDED) == recorded


def test_a_reboot_of_the_server(vm: Host, recorded: str) -> None:
    boot = vm.guest("server", "cat /proc/sys/kernel/random/boot_id")
    console = Path(vm.status()["run_folder"]) / "machines/server/serial.log"
    boots = console.read_text(errors="replace").count("Linux version")
    vm.run("restart", "machine:server", limit=400).expect(
        0, "machine server: stopping", "machine server: agent", "service backend: healthy", "READY", "!it is reset"
    )
    assert console.read_text(errors="replace").count("Linux version") == boots + 1, "it boots once"
    assert vm.guest("server", "cat /proc/sys/kernel/random/boot_id") != boot
    assert vm.status()["state"] == "ready"
    assert vm.guest("server", RECORDED) == recorded
    assert TITLE in vm.guest("client", TITLES)
    # What the topology pushes after each boot is there again.
    assert vm.guest("server", "stat -c %a /run/alicia-secrets/alicia.env") == "600\n"
