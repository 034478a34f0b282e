-- Events are written by topic behind the posts, many at once: each topic cost a page of the log with every message. `feed` is
-- the last event that is in event_topics; those after it the feed looks through by itself.
INSERT INTO consumers (name, event_id) SELECT 'feed', value FROM counters WHERE name = 'event' AND value > 0;
