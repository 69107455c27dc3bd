-- Which daemon acts on the store: each that takes the lease raises the epoch, and writes only while it is its own
-- (daemon/src/store/lease.rs). One row, there from the beginning, because every write transaction looks at it.

CREATE TABLE lease (
    id        BIGINT PRIMARY KEY,
    epoch     BIGINT NOT NULL,
    taken_at  BIGINT NOT NULL
);
INSERT INTO lease (id, epoch, taken_at) VALUES (1, 0, 0);
