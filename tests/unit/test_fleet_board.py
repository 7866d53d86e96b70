"""Which cell begins where, and what follows from the loss of a host: the decisions, without any host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fleet.board import MOST_LOSSES, MOST_REFUSALS, CellBoard
from orchestrator.fleet.cells import Cell
from orchestrator.fleet.needs import Needs, Offer, Room, refusal, shortage
from orchestrator.fleet.placing import Waiting, in_order, place


def offer(name: str, memory: int = 4000, processors: int = 8, disk: int = 100_000) -> Offer:
    return Offer(name, memory, processors, disk)


def board(**memory: int) -> CellBoard:
    """Cells by name with the memory they need; hosts are told later."""
    cells = [Cell(number, name) for number, name in enumerate(memory, 1)]
    needs = {name: Needs(size, 2, 0) for name, size in memory.items()}
    return CellBoard.of(cells, needs, {})


def begun(found: CellBoard) -> list[tuple[str, str]]:
    """Let everything begin that may; cells and hosts."""
    pairs = []
    while state := found.begin_next():
        pairs.append((state.cell.id, state.host))
    return pairs


def test_a_host_takes_as_many_cells_as_its_memory_and_processors_allow() -> None:
    found = board(a=2000, b=2000, c=1, d=1)
    found.host_up(offer("one", memory=4000, processors=6))
    assert begun(found) == [("a", "one"), ("b", "one")], "c would fit in processors, but not in memory"
    found.ended("a")
    assert begun(found) == [("c", "one"), ("d", "one")][:2]


def test_a_cell_with_more_processors_than_the_host_has_runs_alone() -> None:
    assert Room.beside(offer("one", processors=1), []).takes(Needs(1, 2, 0))
    assert not Room.beside(offer("one", processors=3), [Needs(1, 2, 0)]).takes(Needs(1, 2, 0))


def test_a_cell_that_no_host_can_carry_is_refused_with_the_reason() -> None:
    needs = Needs(8000, 2, 200_000)
    assert shortage(needs, offer("one")) == (
        "one has 4000 MiB of memory, 8000 MiB are needed and 100000 MiB of free disk, 200000 MiB are needed"
    )
    assert refusal(needs, [offer("one"), offer("two", memory=9000, disk=300_000)]) == ""
    found = board(a=9000, b=1)
    found.gone = {"later"}
    found.host_up(offer("one"))
    assert found.hopeless() == [], "a host that may still come could carry it"
    found.gone.clear()
    ((state, reason),) = found.hopeless()
    assert state.cell.id == "a" and "one has 4000 MiB of memory, 9000 MiB are needed" in reason


def test_the_emptiest_host_is_taken_first() -> None:
    found = board(a=1000, b=1000, c=1000)
    found.host_up(offer("small", memory=2000))
    found.host_up(offer("large", memory=8000))
    assert begun(found) == [("a", "large"), ("b", "small"), ("c", "large")]


def test_small_cells_do_not_starve_a_large_one() -> None:
    rooms = {"one": Room(offer("one"), 2000, 8, 9), "two": Room(offer("two", memory=1500), 1000, 8, 9)}
    large, small = Waiting("large", Needs(3000, 1, 0)), Waiting("small", Needs(500, 1, 0))
    assert place([large, small], rooms) == (small, "two"), "the only host that could carry the large one is kept for it"
    assert place([large, small], {"one": rooms["one"]}) is None


def test_the_longest_cell_begins_first_and_one_of_unknown_length_before_it() -> None:
    needs = Needs(1, 1, 0)
    cells = [Waiting("short", needs, seconds=5), Waiting("long", needs, seconds=50), Waiting("new", needs)]
    assert [one.id for one in in_order(cells)] == ["new", "long", "short"]


def test_cells_of_a_lost_host_wait_until_it_is_known_that_they_do_not_run() -> None:
    found = board(a=1000)
    found.host_up(offer("one"))
    found.host_up(offer("two", memory=2000))
    assert begun(found) == [("a", "one")]
    (lost,) = found.host_lost("one")
    assert lost.state == "lost" and begun(found) == [], "it may still run on the lost host"
    (again,) = found.released("one", given_up=True)
    assert (again.state, again.times_lost) == ("waiting", 1)
    assert begun(found) == [("a", "two")]
    assert found.cells["a"].attempt == 2
    found.host_lost("two")
    (over,) = found.released("two", given_up=True)
    assert over.state == "ended" and over.cause == f"its host was lost {MOST_LOSSES} times, the last was two"
    assert found.over


def test_a_cell_that_was_lost_or_refused_prefers_another_host() -> None:
    found = board(a=1000)
    found.host_up(offer("one", memory=9000))
    found.host_up(offer("two"))
    assert begun(found) == [("a", "one")]
    found.refused("a", "too little memory now")
    assert begun(found) == [("a", "two")]
    found.refused("a", "too little memory now")
    for _ in range(MOST_REFUSALS - 2):
        assert begun(found)[0][0] == "a", "where there is no other, the same one is asked again"
        found.refused("a", "too little memory now")
    assert found.cells["a"].cause == "no host began it: too little memory now"


def test_news_of_an_attempt_that_was_given_up_do_not_count() -> None:
    found = board(a=1)
    found.host_up(offer("one"))
    begun(found)
    assert found.is_current("a", 1) and not found.is_current("a", 2) and not found.is_current("b", 1)
    found.host_lost("one")
    assert found.is_current("a", 1), "a result that comes late is still the result, as long as nothing else began"
    found.released("one", given_up=True)
    assert not found.is_current("a", 1)


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=20),
    st.lists(st.integers(500, 6000), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_every_cell_that_fits_somewhere_runs_exactly_once(sizes: list[int], hosts: list[int], random: object) -> None:
    found = board(**{f"c{number}": size for number, size in enumerate(sizes)})
    for number, memory in enumerate(hosts):
        found.host_up(offer(f"h{number}", memory=memory))
    ran: list[str] = []
    for state, reason in found.hopeless():
        found.give_up(state.cell.id, reason)
    while not found.over:
        for cell, host in begun(found):
            ran.append(cell)
            assert found.rooms()[host].memory >= 0
        running = [one.cell.id for one in found.cells.values() if one.state == "running"]
        assert running, "something always runs until all is over"
        found.ended(random.choice(running))  # type: ignore[attr-defined]
    fit = [name for name, one in found.cells.items() if one.needs.memory <= max(hosts)]
    assert sorted(ran) == sorted(fit)
