INSERT IGNORE INTO event_topics (topic, event_id)
    SELECT each_one.topic, events.id
    FROM events, JSON_TABLE(events.topics, '$[*]' COLUMNS (topic VARCHAR(160) CHARACTER SET utf8mb4 PATH '$')) AS each_one
    WHERE events.id > COALESCE((SELECT event_id FROM consumers WHERE name = 'feed'), 0);
DELETE FROM consumers WHERE name = 'feed';
