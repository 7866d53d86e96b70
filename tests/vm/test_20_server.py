"""The server as it is meant to be: database, hardening, secrets, nginx, firewall, names."""

from __future__ import annotations

import re
import socket

import pytest
from host import HERE, Host

HEADERS = {
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "x-xss-protection": "1; mode=block",
}
ASK = 'sql() { runuser -u postgres -- psql -XtA -d alicia -c "$1"; }; part() { echo "=== $1"; }\n'


def parts(text: str) -> dict[str, list[str]]:
    """What ``part NAME`` lines divide: name → lines."""
    found: dict[str, list[str]] = {}
    for block in text.split("=== ")[1:]:
        name, *lines = block.splitlines()
        found[name] = lines
    return found


@pytest.fixture(scope="module")
def database(shared_facts: dict[str, list[str]]) -> dict[str, list[str]]:
    return shared_facts


@pytest.fixture(scope="module")
def shared_facts(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What the server says of itself; asked once, because each question costs an emulated processor time."""
    host = request.getfixturevalue("shared").host
    script = """
part version; sql 'show server_version'
part settings; for name in shared_buffers effective_cache_size work_mem maintenance_work_mem log_statement \
log_duration listen_addresses password_encryption; do echo "$name=$(sql "show $name")"; done
part hba; sql "select type, database, user_name, address, auth_method from pg_hba_file_rules order by rule_number"
part role; sql "select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = 'alicia'"
part owner; sql "select pg_get_userbyid(datdba) from pg_database where datname = 'alicia'"
part extensions; sql "select extname from pg_extension order by 1"
part migrations; sql "select version from schema_migrations order by 1"
tcp() { PGPASSWORD=$1 psql -XtA -h 127.0.0.1 -U alicia -d alicia -c "select 'let in'" 2>&1; }
part tcp; tcp "$(cat /etc/alicia/database-password)"
part wrong; tcp no
part modes; stat -c '%n %a %U:%G' /etc/alicia/env /etc/alicia/mocks.env /etc/alicia/database-password \
/run/alicia-secrets/alicia.env /var/lib/alicia
part unit; systemctl show alicia -p User,Group,NoNewPrivileges,PrivateTmp,ProtectSystem,ProtectHome,ReadWritePaths,\
LimitNOFILE,Restart,WorkingDirectory,StateDirectoryMode
part environment; systemctl show alicia -p Environment --value | tr ' ' '\\n'
pid=$(systemctl show alicia -p MainPID --value)
part process; grep NoNewPrivs /proc/$pid/status; grep 'Max open files' /proc/$pid/limits; cat /proc/$pid/comm
part sandbox; nsenter -t $pid -m sh -c 'touch /etc/mark 2>&1; touch /usr/mark 2>&1; ls /home /root 2>&1;
touch /var/lib/alicia/mark && rm /var/lib/alicia/mark && echo state is writable'
part enabled; for unit in postgresql postgresql-setup alicia-migrate mock-llm mock-livekit alicia nginx; do
systemctl is-enabled $unit.service; done
part wanted; systemctl list-dependencies --plain multi-user.target | grep -cE 'postgresql|alicia|mock-|nginx' || true
"""
    return parts(host.guest("server", ASK + script))


def test_postgresql_is_set_up_as_specified(database: dict[str, list[str]]) -> None:
    assert database["version"][0].startswith("17")
    assert database["settings"] == [
        "shared_buffers=128MB",
        "effective_cache_size=256MB",
        "work_mem=4MB",
        "maintenance_work_mem=64MB",
        "log_statement=all",
        "log_duration=on",
        "listen_addresses=localhost",
        "password_encryption=scram-sha-256",
    ]


def test_who_may_connect_and_how(database: dict[str, list[str]]) -> None:
    assert database["hba"] == [
        "local|{all}|{all}||trust",
        "host|{all}|{all}|127.0.0.1|scram-sha-256",
        "host|{all}|{all}|::1|scram-sha-256",
    ]
    assert database["tcp"] == ["let in"]
    assert "password authentication failed" in database["wrong"][0]


def test_role_owner_and_extensions(database: dict[str, list[str]]) -> None:
    assert database["role"] == ["t|f|f|f"]
    assert database["owner"] == ["alicia"]
    assert {"pgcrypto", "vector"} <= set(database["extensions"])


def test_every_migration_is_recorded_once(database: dict[str, list[str]]) -> None:
    files = sorted((HERE.parents[1] / "standin/share/alicia/migrations").glob("*.up.sql"))
    assert len(files) >= 2
    assert database["migrations"] == [path.name.removesuffix(".up.sql") for path in files]


def test_the_backend_is_hardened(shared_facts: dict[str, list[str]]) -> None:
    assert set(shared_facts["unit"]) == {
        "User=alicia",
        "Group=alicia",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ReadWritePaths=/var/lib/alicia",
        "LimitNOFILE=65536",
        "Restart=no",
        "WorkingDirectory=/var/lib/alicia",
        "StateDirectoryMode=0750",
    }
    process = "\n".join(shared_facts["process"])
    assert re.search(r"NoNewPrivs:\s+1", process)
    assert re.search(r"Max open files\s+65536\s+65536", process)
    sandbox = "\n".join(shared_facts["sandbox"])
    assert sandbox.count("Read-only file system") == 2, sandbox
    assert "state is writable" in sandbox


def test_the_backend_has_the_environment_of_the_variant(shared_facts: dict[str, list[str]]) -> None:
    environment = set(shared_facts["environment"])
    for wanted in (
        "ALICIA_SERVER_HOST=0.0.0.0",
        "ALICIA_SERVER_PORT=8888",
        "ALICIA_LLM_URL=http://127.0.0.1:8000/v1",
        "ALICIA_LLM_MODEL=qwen3-8b",
        "ALICIA_LIVEKIT_URL=ws://127.0.0.1:7880",
        "ALICIA_EMBEDDING_DIMENSIONS=1536",
    ):
        assert wanted in environment
    assert not [one for one in environment if "KEY" in one or "SECRET" in one or "POSTGRES" in one]


def test_no_unit_of_the_stack_is_started_by_the_boot(shared_facts: dict[str, list[str]]) -> None:
    assert "enabled" not in shared_facts["enabled"]
    assert shared_facts["wanted"] == ["0"]


def test_secrets_are_for_their_users_only(vm: Host, shared_facts: dict[str, list[str]]) -> None:
    assert shared_facts["modes"] == [
        "/etc/alicia/env 640 root:alicia",
        "/etc/alicia/mocks.env 640 root:mocks",
        "/etc/alicia/database-password 640 root:postgres",
        "/run/alicia-secrets/alicia.env 600 root:root",
        "/var/lib/alicia 750 alicia:alicia",
    ]
    # The values themselves are in no argument of ours: the guest collects them from where they are.
    script = """
umask 077; work=$(mktemp -d); list=$work/list
for file in /etc/alicia/env /etc/alicia/mocks.env /run/alicia-secrets/alicia.env; do
    sed 's/^[A-Z_]*=//; s/^"//; s/"$//' $file; done > $list
cat /etc/alicia/database-password >> $list; sed -i '/^$/d' $list
part count; sort -u $list | wc -l
part readable; find / -xdev \\( -path /usr/lib -o -path /usr/share \\) -prune -o -type f -perm -o=r -size -4M -print0 \
    | xargs -0 grep -lFf $list
find /run /tmp -type f -perm -o=r -print0 | xargs -0r grep -lFf $list
part arguments; for file in /proc/cmdline /proc/[0-9]*/cmdline; do
    tr '\\0' ' ' < $file | grep -Ff $list; done 2>/dev/null
part journal; journalctl -b -o cat --no-pager | grep -cFf $list || true
part used; pid=$(systemctl show alicia -p MainPID --value)
tr '\\0' '\\n' < /proc/$pid/environ | grep -Fxf /run/alicia-secrets/alicia.env | cut -d = -f 1
rm -r $work
"""
    found = parts(vm.guest("server", ASK + script))
    assert int(found["count"][0]) >= 5
    assert found["readable"] == []
    assert found["arguments"] == []
    assert found["journal"] == ["0"]
    assert found["used"] == ["ALICIA_LLM_API_KEY"], "the pushed file did not reach the backend"


def test_headers_stand_once_on_every_answer(vm: Host) -> None:
    asks = {
        "/": 200,
        "/no/such/page": 200,
        "/assets/none.js": 404,
        "/config.json": 200,
        "/health": 200,
        "/api/v1/conversations": 200,
        "/api/v1/nothing": 404,
        "/ws": None,
    }
    loop = " ".join(asks)
    script = f'for path in {loop}; do part "$path"; curl -sS -m 20 -D - -o /dev/null "http://server$path"; done'
    answers = parts(vm.guest("client", ASK + script))
    for path, status in asks.items():
        check_headers(path, answers[path], status)


def check_headers(path: str, lines: list[str], status: int | None) -> dict[str, list[str]]:
    """Status and headers of an answer as curl prints it: ours stand in it once."""
    assert lines, f"{path} gave no answer"
    if status is not None:
        assert lines[0].split()[1] == str(status), f"{path}: {lines[0]}"
    found: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.lower(), []).append(value.strip())
    for name, value in HEADERS.items():
        assert found.get(name) == [value], f"{path}: {name} is {found.get(name)}"
    assert len(found.get("cache-control", [])) == 1, f"{path}: cache-control is {found.get('cache-control')}"
    return found


def test_config_json_upload_limit_and_the_debugging_port(vm: Host) -> None:
    script = """
part config; curl -sS -m 20 http://server/config.json
part big; head -c 10485761 /dev/zero | curl -sS -m 60 -D - -o /dev/null -H Expect: --data-binary @- \
    http://server/api/v1/conversations
part fits; head -c 10000000 /dev/zero | curl -sS -m 90 -w '%{http_code}' -o /dev/null -H Expect: --data-binary @- \
    http://server/api/v1/conversations
part debug; curl -sS -m 20 http://server:8888/health
"""
    found = parts(vm.guest("client", ASK + script))
    assert found["config"] == ['{"livekitUrl":"ws://server"}'] or '"ws://server"' in found["config"][0]
    check_headers("too big", found["big"], 413)
    assert found["fits"][0].isdigit() and found["fits"][0] != "413"
    assert '"ok"' in found["debug"][0]


def test_only_the_two_ports_are_open_to_the_client(vm: Host) -> None:
    script = """
try() { timeout 4 bash -c "exec 3<>/dev/tcp/server/$1" 2>/dev/null && echo "$1 open" || echo "$1 closed"; }
for port in 80 8888 22 5432 8000 7880; do try $port & done; wait"""
    assert sorted(vm.guest("client", script).splitlines()) == [
        "22 closed",
        "5432 closed",
        "7880 closed",
        "80 open",
        "8000 closed",
        "8888 open",
    ]


@pytest.mark.parametrize("machine", ["server", "client"])
def test_the_world_outside_is_shut(vm: Host, machine: str) -> None:
    """Neither names, nor addresses, nor a port of the host."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        script = f"""
try() {{ timeout 4 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null && echo "$1 reached"; }}
try 1.1.1.1 443 & try 10.0.2.2 {port} & try 10.0.2.3 53 &
timeout 15 getent ahostsv4 deb.debian.org; wait; echo tried"""
        assert vm.guest(machine, script) == "tried\n"


def test_machines_know_each_other_by_name(vm: Host) -> None:
    for here, there, address in (("client", "server", "192.168.1.2"), ("server", "client", "192.168.1.1")):
        text = vm.guest(here, f"hostname; getent ahostsv4 {there} | head -1; ping -c 1 -W 5 {there}")
        assert text.startswith(f"{here}\n{address} ")
        assert " 0% packet loss" in text
