"""Three nodes agree; a node that is cut off neither writes nor reads what could be old; a leader can be lost."""

import json

import pytest

PATIENT = "--command-timeout=30s"
BRIEF = "--command-timeout=5s"


@pytest.fixture
def nodes(node1, node2, node3):
    return [node1, node2, node3]


def leader(nodes):
    """The node that leads, as each of these nodes sees it itself."""
    for node in nodes:
        (status,) = json.loads(node.succeed(f"etcdctl endpoint status {PATIENT} -w json"))
        if status["Status"]["leader"] == status["Status"]["header"]["member_id"]:
            return node
    return None


def put(node, key, value):
    node.wait_until_succeeds(f"etcdctl put {PATIENT} {key} {value}", timeout=120)


def get(node, key):
    return node.wait_until_succeeds(f"etcdctl get {PATIENT} --print-value-only {key}", timeout=120).strip()


def test_what_one_node_stores_all_nodes_know(nodes):
    put(nodes[0], "color", "green")
    assert [get(node, "color") for node in nodes] == ["green", "green", "green"]


def test_a_node_that_is_cut_off_cannot_write_and_catches_up(nodes):
    alone = next(node for node in nodes if node is not leader(nodes))
    others = [node for node in nodes if node is not alone]
    alone.block()
    put(others[0], "color", "blue")
    assert get(others[1], "color") == "blue"
    # A write without an answer may still happen when the network is back: another key, of which nothing is expected.
    alone.fail(f"etcdctl put {BRIEF} unanswered red")
    alone.fail(f"etcdctl get {BRIEF} color")  # a linearizable read asks the others
    old = alone.succeed(f"etcdctl get {BRIEF} --consistency=s --print-value-only color")
    assert old.strip() == "green"
    alone.unblock()
    assert get(alone, "color") == "blue"


def test_without_its_leader_the_cluster_elects_another(nodes):
    old = leader(nodes)
    others = [node for node in nodes if node is not old]
    old.block()
    put(others[0], "leader", "new")
    assert leader(others) in others
    old.unblock()
    assert get(old, "leader") == "new"


@pytest.mark.fault("node3-alone")
def test_a_partition_leaves_the_majority_at_work(nodes):
    # No cable is pulled: every node still has its link, and frames between the two sides are lost.
    put(nodes[0], "side", "majority")
    assert get(nodes[1], "side") == "majority"
    nodes[2].fail(f"etcdctl get {BRIEF} side")
    nodes[2].succeed("ip -br link | grep -q LOWER_UP")


def test_after_the_partition_all_nodes_agree_again(nodes):
    assert [get(node, "side") for node in nodes] == ["majority", "majority", "majority"]
