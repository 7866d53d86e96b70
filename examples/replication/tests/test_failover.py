"""What is written on the primary is on the standby, and the standby takes over when the primary is gone."""

import pytest


@pytest.fixture
def sql():
    return lambda machine, text: machine.succeed(["psql", "-XtAc", text], user="postgres").strip()


def test_what_is_written_arrives(primary, standby, sql):
    sql(primary, "create table orders (id int primary key)")
    sql(primary, "insert into orders select generate_series(1, 100)")
    standby.wait_for_sql("select count(*) from orders", matches="^100$")


def test_the_standby_refuses_to_write(standby):
    refused = standby.fail(["sh", "-c", "psql -Xc 'create table mine (id int)' 2>&1"], user="postgres")
    assert "read-only transaction" in refused


def test_a_standby_that_was_cut_off_catches_up(primary, standby, sql):
    standby.block()
    sql(primary, "insert into orders values (101)")
    assert sql(standby, "select count(*) from orders") == "100"
    standby.unblock()
    standby.wait_for_sql("select count(*) from orders", matches="^101$", timeout=120)


def test_after_a_crash_of_the_primary_the_standby_takes_over(primary, standby, sql):
    primary.crash()
    standby.succeed("pg_ctlcluster 17 main promote")
    standby.wait_for_sql("select pg_is_in_recovery()", matches="^f$")
    assert sql(standby, "select count(*) from orders") == "101"
    sql(standby, "insert into orders values (102)")
