"""Each failure of the stack, made in the real guest: one screen with cause, evidence and next command, in time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from host import Done, Host
from test_20_server import ASK, check_headers, parts

UNIT = "/run/systemd/system/alicia.service.d"
# Seconds for what needs no limit to be known; a quarter of it is normal, the stop of what rests on it included.
AT_ONCE = 60.0
MIGRATIONS = "/opt/alicia/share/alicia/migrations"


@contextmanager
def broken(vm: Host, machine: str, how: str, service: str) -> Iterator[Done]:
    """Break something, restart the service, hand out how that went; afterwards everything is as it was when healthy."""
    vm.guest(machine, how)
    try:
        yield vm.run("restart", service, limit=200)
    finally:
        vm.run("reset", limit=200).expect(0, "READY")
    assert vm.status()["state"] == "ready"


def explained(done: Done, service: str, unit: str = "", machine: str = "server") -> None:
    """The screen everybody gets: error, why, where, next."""
    done.expect(
        3, rf"error: service {service} on machine {machine} ", "why: ", r"where: .*journal\.jsonl", "!Traceback"
    )
    command = f"logs --unit {unit} {machine}" if unit else f"shell {machine}"
    done.expect(3, rf"next: +orchestrator -n vm-tests {command}")


def known_at_once(done: Done) -> None:
    """The failure was seen, not waited for: no limit was reached."""
    done.expect(3, "!is not up within", "!did not start within", within=AT_ONCE)


def test_a_migration_with_an_error(vm: Host) -> None:
    sql = "CREATE TABLE kept_by_mistake (id int);\\nCREATE TABLE broken (id int;\\n"
    copy = f"cp -r {MIGRATIONS} /run/broken && printf '{sql}' > /run/broken/003_broken.up.sql"  # a layer is read-only
    with broken(vm, "server", f"{copy} && mount --bind /run/broken {MIGRATIONS}", "migrations") as done:
        explained(done, "migrations", "alicia-migrate.service")
        known_at_once(done)
        done.expect(
            3,
            r"003_broken\.up\.sql:2: ERROR: +syntax error",
            "service backend: skipped.*needs migrations",
        )
        assert "service backend: starting" not in done.stderr
        script = """
part kept; sql "select to_regclass('kept_by_mistake')"
part versions; sql 'select version from schema_migrations'"""
        found = parts(vm.guest("server", ASK + script))
        assert found["kept"] == [""] and "003_broken" not in found["versions"]
        assert vm.run("status").expect(3).stdout.startswith("vm-tests: failed")


def test_a_backend_that_exits_at_its_start(vm: Host) -> None:
    file = "/run/alicia-secrets/alicia.env"
    how = f"echo ALICIA_LLM_TEMPERATURE=9 >> {file}"
    with broken(vm, "server", how, "backend") as done:
        explained(done, "backend", "alicia.service")
        known_at_once(done)
        done.expect(3, "LLM temperature must be between 0 and 2", "exit status 1", "service nginx: skipped")


def test_a_backend_that_runs_but_never_answers(vm: Host) -> None:
    lines = "[Service]\\nExecStart=\\nExecStart=/bin/sleep infinity\\n"
    how = f"mkdir -p {UNIT}; printf '{lines}' > {UNIT}/x.conf; systemctl daemon-reload"
    with broken(vm, "server", how, "backend") as done:
        explained(done, "backend", "alicia.service")
        done.expect(
            3,
            r"is not up within [0-9. a-z]+",
            r"check (health|database) made from machine server never passed; "
            r"last answer: GET http://127\.0\.0\.1:8888/\S+: Connect(ion)? (failed|refused)",
        )
        limit = float(re.findall(r"is not up within (\d+) s", done.stderr)[0])
        assert limit <= done.seconds <= limit + 90, done.shown()


def test_a_broken_nginx_configuration(vm: Host) -> None:
    file = "/etc/nginx/nginx.conf"
    with broken(vm, "server", f"sed -i '1i nonsense on;' {file}", "nginx") as done:
        explained(done, "nginx", "nginx.service")
        known_at_once(done)
        done.expect(3, r'unknown directive "nonsense" in /etc/nginx/nginx\.conf:1')


def test_a_postgresql_that_refuses_to_start(vm: Host) -> None:
    file = "/etc/alicia/postgresql/postgresql.conf"
    how = f"echo \"shared_buffers = 'lots'\" >> {file}"
    with broken(vm, "server", how, "postgresql") as done:
        explained(done, "postgresql", "postgresql.service")
        known_at_once(done)
        done.expect(3, r'invalid value for parameter "shared_buffers": "lots"', "service client: skipped")


def test_a_client_that_does_not_know_the_server(vm: Host) -> None:
    how = "sed -i '/ server$/d' /etc/hosts"
    with broken(vm, "client", how, "client") as done:
        explained(done, "client", machine="client")
        done.expect(3, r"check (health|api) made from machine client never passed; last answer: GET http://server/")
        limit = float(re.findall(r"is not up within (\d+) s", done.stderr)[0])
        assert limit <= done.seconds <= limit + 90, done.shown()


def test_a_unit_stopped_from_inside_is_seen_and_up_mends_it(vm: Host) -> None:
    vm.guest("server", "systemctl stop alicia")
    done = vm.run("status").expect(3)
    assert done.stdout.startswith("vm-tests: degraded")
    assert re.search(r"service backend +stopped +on server +alicia\.service", done.stdout)
    assert re.search(r"service nginx +healthy", done.stdout)
    ask = "part down; curl -sS -m 20 -D - -o /dev/null http://server/api/v1/conversations"
    check_headers("backend down", parts(vm.guest("client", ASK + ask))["down"], 502)
    checked = vm.run("status", "--checks").expect(3).stdout
    assert re.search(r"service client +failed +on client +check \w+: .*502", checked)
    vm.run("up").expect(0, "READY")
    vm.run("status").expect(0)
