"""alicia-migrate.sh against a real PostgreSQL, as far as this host has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "stack/alicia-migrate.sh"
SETUP = ROOT / "stack/postgresql-setup.sh"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

pytestmark = pytest.mark.skipif(not SERVERS or not shutil.which("psql"), reason="PostgreSQL is not installed")


def command(*argv: str) -> list[str]:
    """PostgreSQL does not run as root."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv] if os.geteuid() == 0 else [*argv]


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, str]]:
    programs = SERVERS[-1].parent
    # A short path that the other user may enter: the socket lies in it.
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        quiet = {"stdout": subprocess.DEVNULL, "cwd": name}
        subprocess.run(
            command(str(programs / "initdb"), "-D", f"{name}/d", "-U", "postgres", "-A", "trust", "-N"),
            check=True,
            **quiet,  # type: ignore[call-overload]
        )
        options = f"-k {name} -c listen_addresses= -c fsync=off -c log_statement=all -c logging_collector=off"
        pg_ctl = [str(programs / "pg_ctl"), "-D", f"{name}/d", "-w"]
        subprocess.run(command(*pg_ctl, "-l", f"{name}/log", "-o", options, "start"), check=True, **quiet)  # type: ignore[call-overload]
        try:
            yield {**os.environ, "PGHOST": name, "PGUSER": "postgres", "PGDATABASE": "postgres"}
        finally:
            subprocess.run(command(*pg_ctl, "-m", "immediate", "stop"), check=True, **quiet)  # type: ignore[call-overload]


def sql(database: dict[str, str], query: str) -> str:
    argv = ["psql", "-XtAc", query]
    return subprocess.run(argv, env=database, capture_output=True, text=True, check=True).stdout.strip()


def migrate(database: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), str(folder)], env=database, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(database: dict[str, str], tmp_path: Path) -> Path:
    sql(database, "DROP SCHEMA public CASCADE")
    sql(database, "CREATE SCHEMA public")
    (tmp_path / "001_one.up.sql").write_text("CREATE TABLE one (a int);\nINSERT INTO one VALUES (1);\n")
    (tmp_path / "001_one.down.sql").write_text("DROP TABLE one;\n")
    (tmp_path / "002_two.up.sql").write_text("INSERT INTO one VALUES (2);\n")
    return tmp_path


def test_each_migration_runs_once_in_order(database: dict[str, str], folder: Path) -> None:
    first = migrate(database, folder)
    assert first.returncode == 0, first.stderr
    assert "Applying: 001_one.up.sql\nApplying: 002_two.up.sql\n" in first.stdout
    second = migrate(database, folder)
    assert second.returncode == 0
    assert second.stdout == "Migrations: 0 applied, 2 were there already\n"
    (folder / "003_three.up.sql").write_text("INSERT INTO one VALUES (3);\n")
    assert "1 applied, 2 were there" in migrate(database, folder).stdout
    assert sql(database, "SELECT string_agg(a::text, ' ' ORDER BY a) FROM one") == "1 2 3"
    versions = sql(database, "SELECT string_agg(version, ' ' ORDER BY version) FROM schema_migrations")
    assert versions == "001_one 002_two 003_three"


def test_a_broken_migration_names_file_and_line_and_leaves_nothing(database: dict[str, str], folder: Path) -> None:
    (folder / "002_two.up.sql").write_text("CREATE TABLE half (a int);\n\nSELECT nonsense;\n")
    done = migrate(database, folder)
    assert done.returncode == 1
    assert f'{folder}/002_two.up.sql:3: ERROR:  column "nonsense" does not exist' in done.stderr
    assert "nothing of it was kept" in done.stderr
    assert sql(database, "SELECT to_regclass('half') IS NULL") == "t"
    assert sql(database, "SELECT string_agg(version, ' ') FROM schema_migrations") == "001_one"
    (folder / "002_two.up.sql").write_text("CREATE TABLE half (a int);\n")
    assert migrate(database, folder).returncode == 0


def test_a_migration_that_changed_is_an_error(database: dict[str, str], folder: Path) -> None:
    assert migrate(database, folder).returncode == 0
    with (folder / "001_one.up.sql").open("a") as file:
        file.write("-- later\n")
    done = migrate(database, folder)
    assert done.returncode == 1
    assert "001_one.up.sql changed after it was applied" in done.stderr
    assert sql(database, "SELECT count(*) FROM one") == "2"


def test_wrong_calls(database: dict[str, str], tmp_path: Path) -> None:
    assert "is not a folder" in migrate(database, tmp_path / "none").stderr
    empty = migrate(database, tmp_path)
    assert (empty.returncode, "no migration" in empty.stderr) == (2, True)
    (tmp_path / "001_a'b.up.sql").write_text("")
    assert "may stand in the name" in migrate(database, tmp_path).stderr


def test_without_a_server_it_fails(database: dict[str, str], folder: Path) -> None:
    done = migrate({**database, "PGHOST": "/nonexistent"}, folder)
    assert done.returncode != 0
    assert "psql: error" in done.stderr


def test_the_setup_is_idempotent_and_logs_no_password(database: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("it's $ecret\n")
    environment = {
        **database,
        "SETUP_DATABASE": "alicia db",
        "SETUP_USER": "alicia",
        "SETUP_PASSWORD_FILE": str(secret),
        "SETUP_EXTENSIONS": "plpgsql",
    }
    for _ in range(2):
        done = subprocess.run([str(SETUP)], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'alicia db'"
    assert sql(database, owner) == "alicia"
    assert sql(database, "SELECT rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolname = 'alicia'") == "t"
    assert "ecret" not in Path(database["PGHOST"], "log").read_text()
    secret.unlink()
    done = subprocess.run([str(SETUP)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot read" in done.stderr
