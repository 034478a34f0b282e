DROP INDEX threads_facet ON threads;
ALTER TABLE threads DROP COLUMN facet;
