-- The extensions stay: the database may have had them before.

DROP TABLE alicia_tools;
DROP TABLE alicia_messages;
DROP TABLE alicia_conversations;
DROP FUNCTION alicia_touch();
DROP FUNCTION alicia_new_id(text);
DROP TYPE sync_status;
DROP TYPE conversation_status;
DROP TYPE message_role;
