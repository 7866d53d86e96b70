DROP TABLE alicia_message_embeddings;
