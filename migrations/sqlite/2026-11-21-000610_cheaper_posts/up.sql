-- Every index costs a page of the log with each message. Events are forgotten by their topics, which are known; and most
-- messages have no id of their sender's.
DROP INDEX event_topics_event;
DROP INDEX messages_client_id;
CREATE UNIQUE INDEX messages_client_id ON messages (author_kind, author_id, client_id) WHERE client_id IS NOT NULL;
