"""The application in its normal life, and without one of the two it relies on."""

import json

import pytest

URL = "http://web:8000/notes"


@pytest.fixture
def notes(redis):
    """What any machine of the network is answered: the notes, and whether they came from the cache."""

    def ask():
        head, _, body = redis.succeed(["curl", "-sfi", URL]).replace("\r", "").partition("\n\n")
        return json.loads(body), "X-Cache: hit" in head

    return ask


@pytest.fixture
def add(redis):
    return lambda text: redis.succeed(["curl", "-sf", "--data", text, URL])


def test_a_note_is_in_the_database(add, database):
    add("bread")
    found = database.succeed(["psql", "-XtAc", "select text from notes", "notes"], user="postgres")
    assert found.strip() == "bread"


def test_the_second_answer_comes_from_the_cache(add, notes):
    add("milk")
    assert notes() == (["bread", "milk"], False)
    assert notes() == (["bread", "milk"], True)


def test_without_the_cache_the_database_answers(environment, notes, add):
    environment.services["redis"].stop()
    add("tea")
    assert notes() == (["bread", "milk", "tea"], False)
    environment.services["redis"].start()


def test_while_the_database_cannot_be_reached_the_cache_answers(database, redis, notes):
    expected, _ = notes()
    database.block()
    assert notes() == (expected, True)
    status = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data", "eggs", URL]
    assert redis.succeed(status) == "503"
    database.unblock()
    redis.wait_until_succeeds(["curl", "-sf", "--data", "eggs", URL])
    assert notes() == ([*expected, "eggs"], False)
