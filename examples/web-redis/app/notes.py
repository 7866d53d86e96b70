"""Notes: stored in PostgreSQL, read through a cache in redis.

GET /notes, POST /notes (the body is the text), GET /health. `X-Cache` says where the notes of an answer came from.
Without redis the notes come from the database; without the database they come from the cache, and nothing can be added.
"""

from __future__ import annotations

import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import redis

CACHE = redis.Redis(host="redis", socket_timeout=5, socket_connect_timeout=5)
KEY = "notes"


def query(text: str, *values: str) -> list[tuple[object, ...]]:
    """The rows of a statement, in a connection of its own."""
    connection = psycopg2.connect("host=database user=notes dbname=notes connect_timeout=5")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def cached() -> bytes | None:
    try:
        return CACHE.get(KEY)
    except redis.RedisError:
        return None


def keep(body: bytes | None) -> None:
    """Put the notes into the cache, or take them out of it."""
    with suppress(redis.RedisError):  # the next answer reads the database
        CACHE.set(KEY, body) if body is not None else CACHE.delete(KEY)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, json.dumps(health()).encode())
        elif self.path != "/notes":
            self.answer(404, b"{}")
        elif (body := cached()) is not None:
            self.answer(200, body, "hit")
        else:
            try:
                body = json.dumps([row[0] for row in query("select text from notes order by id")]).encode()
            except psycopg2.Error as error:
                self.answer(503, json.dumps({"error": str(error)}).encode())
            else:
                keep(body)
                self.answer(200, body, "miss")

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try:
            query("insert into notes (text) values (%s)", text)
        except psycopg2.Error as error:
            self.answer(503, json.dumps({"error": str(error)}).encode())
        else:
            keep(None)
            self.answer(201, b"{}")

    def answer(self, status: int, body: bytes, cache: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if cache:
            self.send_header("X-Cache", cache)
        self.end_headers()
        self.wfile.write(body)


def health() -> dict[str, bool]:
    found = {"database": True, "cache": True}
    try:
        query("select 1 from notes limit 1")
    except psycopg2.Error:
        found["database"] = False
    try:
        CACHE.ping()
    except redis.RedisError:
        found["cache"] = False
    return found


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
