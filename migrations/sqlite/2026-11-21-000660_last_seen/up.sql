-- When the user's last socket closed, as the push daemon reported it: that one forgets with its process.
ALTER TABLE users ADD COLUMN last_seen_at TIMESTAMP;
