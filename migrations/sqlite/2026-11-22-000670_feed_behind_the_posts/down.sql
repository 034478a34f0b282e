INSERT OR IGNORE INTO event_topics (topic, event_id)
    SELECT each.value, events.id FROM events, json_each(events.topics) AS each
    WHERE events.id > COALESCE((SELECT event_id FROM consumers WHERE name = 'feed'), 0);
DELETE FROM consumers WHERE name = 'feed';
