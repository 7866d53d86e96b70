-- Conversations, their messages, and the tools a model may call.
-- Applied once, as the owner of the database; a second run fails on purpose
-- (CREATE TYPE without IF NOT EXISTS), as that of the real application does.

CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TYPE message_role AS ENUM ('user', 'assistant', 'system');
CREATE TYPE conversation_status AS ENUM ('active', 'archived');
CREATE TYPE sync_status AS ENUM ('pending', 'synced', 'conflict');

-- An id like ac_V1StGXR8Z5jdHi6BmyTk3: a prefix and 21 of 64 letters (126 random bits).
CREATE FUNCTION alicia_new_id(prefix text) RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT prefix || '_' || string_agg(
        substr('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-abcdefghijklmnopqrstuvwxyz', 1 + (get_byte(bytes, i) & 63), 1), '')
    FROM (SELECT gen_random_bytes(21) AS bytes) AS drawn, generate_series(0, 20) AS i
$$;

CREATE FUNCTION alicia_touch() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TABLE alicia_conversations (
    id text PRIMARY KEY DEFAULT alicia_new_id('ac'),
    user_id text NOT NULL,
    title text NOT NULL,
    status conversation_status NOT NULL DEFAULT 'active',
    preferences jsonb NOT NULL DEFAULT '{"enable_memory": true}',
    livekit_room_name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX alicia_conversations_of_user ON alicia_conversations (user_id, updated_at DESC)
    WHERE deleted_at IS NULL;

CREATE TABLE alicia_messages (
    id text PRIMARY KEY DEFAULT alicia_new_id('am'),
    conversation_id text NOT NULL REFERENCES alicia_conversations (id) ON DELETE CASCADE,
    sequence_number integer NOT NULL CHECK (sequence_number > 0),
    previous_id text REFERENCES alicia_messages (id),
    role message_role NOT NULL,
    contents text NOT NULL DEFAULT '',
    local_id text,
    sync_status sync_status NOT NULL DEFAULT 'synced',
    synced_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (conversation_id, sequence_number),
    UNIQUE (conversation_id, local_id)
);

CREATE TABLE alicia_tools (
    id text PRIMARY KEY DEFAULT alicia_new_id('at'),
    name text NOT NULL UNIQUE,
    description text NOT NULL DEFAULT '',
    schema jsonb NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TRIGGER alicia_conversations_touch BEFORE UPDATE ON alicia_conversations
    FOR EACH ROW EXECUTE FUNCTION alicia_touch();
CREATE TRIGGER alicia_messages_touch BEFORE UPDATE ON alicia_messages
    FOR EACH ROW EXECUTE FUNCTION alicia_touch();
CREATE TRIGGER alicia_tools_touch BEFORE UPDATE ON alicia_tools
    FOR EACH ROW EXECUTE FUNCTION alicia_touch();
