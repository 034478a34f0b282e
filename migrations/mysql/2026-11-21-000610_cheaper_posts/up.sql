-- Every index costs work with each message. Events are forgotten by their topics, which are known.
DROP INDEX event_topics_event ON event_topics;
