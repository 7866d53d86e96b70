"""What is kept in PostgreSQL. Rows leave as JSON-ready dictionaries in the shape of the API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

Row = dict[str, Any]

_CONVERSATION = (
    "id, user_id, title, status::text AS status, livekit_room_name, preferences::text AS preferences,"
    " created_at, updated_at"
)
_MESSAGE = (
    "id, conversation_id, sequence_number, previous_id, role::text AS role, contents, local_id,"
    " sync_status::text AS sync_status, synced_at, created_at, updated_at"
)
_NAME_COLUMNS = ("name", "filename", "migration", "version", "id")
_QUERY_SECONDS = 10
_CONNECT_SECONDS = 30


async def connect(url: str) -> asyncpg.Pool:
    """A pool with one open connection.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError: not reachable,
            refused, or the address is wrong. Nothing is tried twice.
    """
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=4,
        timeout=_CONNECT_SECONDS,
        command_timeout=_QUERY_SECONDS,
        server_settings={"application_name": "alicia"},
    )


def timestamp(value: datetime) -> str:
    """A time as the API writes it: RFC 3339 in UTC."""
    return value.isoformat().replace("+00:00", "Z")


def vector_text(vector: Sequence[float]) -> str:
    """A vector in pgvector's notation."""
    return "[" + ",".join(f"{value:.8g}" for value in vector) + "]"


def _conversation(row: Mapping[str, Any]) -> Row:
    data: Row = {"id": row["id"], "user_id": row["user_id"], "title": row["title"], "status": row["status"]}
    if row["livekit_room_name"]:
        data["livekit_room_name"] = row["livekit_room_name"]
    data["preferences"] = json.loads(row["preferences"])
    data["created_at"] = timestamp(row["created_at"])
    data["updated_at"] = timestamp(row["updated_at"])
    return data


def _message(row: Mapping[str, Any]) -> Row:
    data: Row = {
        "id": row["id"],
        "conversation_id": row["conversation_id"],
        "sequence_number": row["sequence_number"],
    }
    if row["previous_id"]:
        data["previous_id"] = row["previous_id"]
    data["role"] = row["role"]
    data["contents"] = row["contents"]
    data["created_at"] = timestamp(row["created_at"])
    data["updated_at"] = timestamp(row["updated_at"])
    return data


class Store:
    """All queries. Any of them raises what asyncpg raises when the database fails."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def close(self) -> None:
        await self._pool.close()

    async def ping(self) -> None:
        await self._pool.fetchval("SELECT 1")

    async def count_tools(self) -> int:
        """How many tools there are; fails on a database without migrations."""
        return int(await self._pool.fetchval("SELECT count(*) FROM alicia_tools"))

    # ---------------------------------------------------------------- conversations

    async def create_conversation(self, user: str, title: str, preferences: Mapping[str, object]) -> Row:
        row = await self._pool.fetchrow(
            "INSERT INTO alicia_conversations (user_id, title, preferences) VALUES ($1, $2, $3::text::jsonb)"
            f" RETURNING {_CONVERSATION}",
            user,
            title,
            json.dumps(preferences),
        )
        return _conversation(row)

    async def conversations(self, user: str, limit: int, offset: int, *, active: bool) -> list[Row]:
        """The user's conversations that are not deleted, the latest change first."""
        rows = await self._pool.fetch(
            f"SELECT {_CONVERSATION} FROM alicia_conversations"
            " WHERE user_id = $1 AND deleted_at IS NULL AND (NOT $4::boolean OR status = 'active')"
            " ORDER BY updated_at DESC, id LIMIT $2 OFFSET $3",
            user,
            limit,
            offset,
            active,
        )
        return [_conversation(row) for row in rows]

    async def conversation(self, user: str, identity: str) -> Row | None:
        """A conversation of the user; None when there is none, or it is another's or deleted."""
        row = await self._pool.fetchrow(
            f"SELECT {_CONVERSATION} FROM alicia_conversations WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL",
            identity,
            user,
        )
        return None if row is None else _conversation(row)

    async def delete_conversation(self, user: str, identity: str) -> None:
        """Hide a conversation; nothing happens when the user has no such."""
        await self._pool.execute(
            "UPDATE alicia_conversations SET deleted_at = now() WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL",
            identity,
            user,
        )

    async def set_room(self, identity: str, room: str) -> None:
        await self._pool.execute("UPDATE alicia_conversations SET livekit_room_name = $2 WHERE id = $1", identity, room)

    # ---------------------------------------------------------------- messages

    async def messages(self, conversation: str) -> list[Row]:
        """All messages in their order."""
        rows = await self._pool.fetch(
            f"SELECT {_MESSAGE} FROM alicia_messages WHERE conversation_id = $1 ORDER BY sequence_number",
            conversation,
        )
        return [_message(row) for row in rows]

    async def add_message(self, conversation: str, role: str, contents: str, *, local_id: str | None = None) -> Row:
        """Append a message; its number follows the last one's."""
        async with self._pool.acquire() as connection, connection.transaction():
            # Changing the conversation's row makes writers of one conversation wait for each other.
            await connection.execute("UPDATE alicia_conversations SET updated_at = now() WHERE id = $1", conversation)
            row = await connection.fetchrow(
                "INSERT INTO alicia_messages"
                " (conversation_id, sequence_number, previous_id, role, contents, local_id, synced_at)"
                " SELECT $1, coalesce(max(sequence_number), 0) + 1,"
                " (SELECT id FROM alicia_messages WHERE conversation_id = $1"
                " ORDER BY sequence_number DESC LIMIT 1),"
                " $2::text::message_role, $3, $4, CASE WHEN $4::text IS NULL THEN NULL ELSE now() END"
                f" FROM alicia_messages WHERE conversation_id = $1 RETURNING {_MESSAGE}",
                conversation,
                role,
                contents,
                local_id,
            )
        return _message(row)

    async def set_contents(self, identity: str, contents: str) -> Row:
        """Fill a message that was stored empty."""
        row = await self._pool.fetchrow(
            f"UPDATE alicia_messages SET contents = $2 WHERE id = $1 RETURNING {_MESSAGE}",
            identity,
            contents,
        )
        return _message(row)

    async def synced(self, conversation: str, local_id: str) -> Row | None:
        """The message a client knows under its own id, if it was ever synced."""
        row = await self._pool.fetchrow(
            f"SELECT {_MESSAGE} FROM alicia_messages WHERE conversation_id = $1 AND local_id = $2",
            conversation,
            local_id,
        )
        return None if row is None else _message(row)

    async def mark_conflict(self, identity: str) -> None:
        await self._pool.execute("UPDATE alicia_messages SET sync_status = 'conflict' WHERE id = $1", identity)

    async def sync_counts(self, conversation: str) -> tuple[dict[str, int], datetime | None]:
        """Messages per sync status, and when the last one was synced."""
        rows = await self._pool.fetch(
            "SELECT sync_status::text AS status, count(*) AS count, max(synced_at) AS last"
            " FROM alicia_messages WHERE conversation_id = $1 GROUP BY sync_status",
            conversation,
        )
        times = [row["last"] for row in rows if row["last"] is not None]
        return {row["status"]: row["count"] for row in rows}, max(times, default=None)

    # ---------------------------------------------------------------- embeddings

    async def put_embedding(self, message: str, model: str, vector: Sequence[float]) -> None:
        await self._pool.execute(
            "INSERT INTO alicia_message_embeddings (message_id, model, embedding)"
            " VALUES ($1, $2, $3::text::vector) ON CONFLICT (message_id)"
            " DO UPDATE SET model = excluded.model, embedding = excluded.embedding",
            message,
            model,
            vector_text(vector),
        )

    async def nearest(self, user: str, vector: Sequence[float], limit: int) -> list[Row]:
        """The user's messages by cosine distance to a vector, the nearest first."""
        async with self._pool.acquire() as connection, connection.transaction():
            # All ten lists of the index: exact, whatever plan is chosen.
            await connection.execute("SET LOCAL ivfflat.probes = 10")
            rows = await connection.fetch(
                "SELECT m.id AS message_id, m.conversation_id, m.contents,"
                " e.embedding <=> $2::text::vector AS distance"
                " FROM alicia_message_embeddings e"
                " JOIN alicia_messages m ON m.id = e.message_id"
                " JOIN alicia_conversations c ON c.id = m.conversation_id"
                " WHERE c.user_id = $1 AND c.deleted_at IS NULL"
                " ORDER BY distance, m.id LIMIT $3",
                user,
                vector_text(vector),
                limit,
            )
        return [dict(row) for row in rows]

    # ---------------------------------------------------------------- the state of the database

    async def status(self) -> Row:
        """Recorded migrations, installed extensions, numbers of messages and embeddings."""
        async with self._pool.acquire() as connection:
            extensions = await connection.fetch(
                "SELECT extname::text AS name FROM pg_extension"
                " WHERE extname IN ('pgcrypto', 'vector') ORDER BY extname"
            )
            return {
                "migrations": await _migrations(connection),
                "extensions": [row["name"] for row in extensions],
                "messages": await connection.fetchval("SELECT count(*) FROM alicia_messages"),
                "embeddings": await connection.fetchval("SELECT count(*) FROM alicia_message_embeddings"),
            }


async def _migrations(connection: Any) -> list[str]:
    """The names in ``schema_migrations``. The table belongs to whoever applies the
    migrations, so its columns are looked at rather than assumed."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')::text") is None:
        return []
    rows = await connection.fetch("SELECT to_jsonb(m)::text AS row FROM schema_migrations m")
    return sorted(migration_name(json.loads(row["row"])) for row in rows)


def migration_name(row: Mapping[str, object]) -> str:
    """What a row of ``schema_migrations`` calls its migration."""
    for column in _NAME_COLUMNS:
        if row.get(column) is not None:
            return str(row[column])
    return next((str(value) for value in row.values() if value is not None), "")
