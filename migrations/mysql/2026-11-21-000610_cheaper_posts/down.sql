CREATE INDEX event_topics_event ON event_topics (event_id);
