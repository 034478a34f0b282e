DROP INDEX threads_facet;
ALTER TABLE threads DROP COLUMN facet;
