-- One embedding per message, searched by cosine distance.
-- 1536 is the default of ALICIA_EMBEDDING_DIMENSIONS; another length needs another migration.

CREATE TABLE alicia_message_embeddings (
    message_id text PRIMARY KEY REFERENCES alicia_messages (id) ON DELETE CASCADE,
    model text NOT NULL,
    embedding vector(1536) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Made while the table is empty, so its lists have no good centres: the server
-- searches all ten of them, which makes its answers exact.
CREATE INDEX alicia_message_embeddings_cosine ON alicia_message_embeddings
    USING ivfflat (embedding vector_cosine_ops) WITH (lists = 10);
