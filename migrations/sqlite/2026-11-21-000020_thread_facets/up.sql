-- What thread lists are filtered by, in one number: 4 for each subject type (in the order of `store/threads.rs`), 2 if
-- flagged, 1 if closed. With the index, whatever the staff filter by is a few walks down the list in its order, however rare it is.
ALTER TABLE threads ADD COLUMN facet INTEGER GENERATED ALWAYS AS (
    CASE subject_type
        WHEN 'product' THEN 0 WHEN 'order' THEN 4 WHEN 'vendor' THEN 8 WHEN 'user' THEN 12 ELSE 16
    END
    + CASE WHEN flagged THEN 2 ELSE 0 END
    + CASE status WHEN 'open' THEN 0 ELSE 1 END
) VIRTUAL;
CREATE INDEX threads_facet ON threads (facet, activity);
