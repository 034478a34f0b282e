DROP INDEX messages_client_id;
CREATE UNIQUE INDEX messages_client_id ON messages (author_kind, author_id, client_id);
CREATE INDEX event_topics_event ON event_topics (event_id);
