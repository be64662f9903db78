CREATE TABLE jobs (
    id               TEXT PRIMARY KEY NOT NULL,
    type             TEXT NOT NULL,
    queue            TEXT NOT NULL,
    state            TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    band             INTEGER NOT NULL,
    rank             REAL NOT NULL,
    payload          TEXT NOT NULL,
    timeout          REAL,
    max_attempts     INTEGER NOT NULL,
    attempt          INTEGER NOT NULL DEFAULT 0,
    token            INTEGER NOT NULL DEFAULT 0,
    runner           TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    suspect          INTEGER NOT NULL DEFAULT 0,
    deaths           INTEGER NOT NULL DEFAULT 0,
    submitted_at     REAL NOT NULL,
    run_at           REAL NOT NULL,
    started_at       REAL,
    finished_at      REAL,
    result           TEXT,
    error            TEXT
);
-- Each index holds only the rows that its statement looks for, so a job costs no index once it has ended.
CREATE INDEX jobs_claimable ON jobs (queue, band, rank, id) WHERE state = 'pending' AND suspect = 0;
CREATE INDEX jobs_suspect ON jobs (queue, band, rank, id) WHERE state = 'pending' AND suspect = 1;
CREATE INDEX jobs_due ON jobs (run_at) WHERE state = 'scheduled';
CREATE INDEX jobs_held ON jobs (runner) WHERE state = 'processing';
CREATE INDEX jobs_unwanted ON jobs (runner) WHERE state = 'processing' AND cancel_requested = 1;

CREATE TABLE runners (
    id         TEXT PRIMARY KEY NOT NULL,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    started_at REAL NOT NULL,
    beat_at    REAL NOT NULL,
    expires_at REAL NOT NULL
);
CREATE TABLE types (name TEXT PRIMARY KEY NOT NULL);
-- How many jobs are in each state of each queue; kept in the transaction that moves them.
CREATE TABLE counts (
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) WITHOUT ROWID;
-- Counters that only grow; `arrivals` is raised whenever work may have become claimable.
CREATE TABLE totals (name TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO totals VALUES ('arrivals', 0), ('stale_finishes_rejected', 0);
