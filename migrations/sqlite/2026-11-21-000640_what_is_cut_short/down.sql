DROP INDEX messages_client_id;
CREATE UNIQUE INDEX messages_client_id ON messages (author_kind, author_id, client_id) WHERE client_id IS NOT NULL;
DROP INDEX attachments_removed;
CREATE INDEX attachments_removed ON attachments (removed_at);
DELETE FROM webhooks WHERE deleted_at IS NOT NULL;
ALTER TABLE webhooks DROP COLUMN deleted_at;
DROP INDEX users_erasing;
ALTER TABLE users DROP COLUMN erasing_since;
