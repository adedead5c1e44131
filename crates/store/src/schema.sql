-- Version 1. Times are microseconds since 1970, UTC.
CREATE TABLE sandboxes (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('creating', 'running', 'stopping', 'stopped', 'removed', 'failed')),
    driver    TEXT NOT NULL,
    spec      TEXT NOT NULL,
    policy    TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    remove    INTEGER NOT NULL CHECK (remove IN (0, 1)),
    created   INTEGER NOT NULL,
    started   INTEGER,
    ended     INTEGER,
    exit_code INTEGER CHECK (exit_code BETWEEN 0 AND 255),
    reason    TEXT,
    denials   TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE UNIQUE INDEX names ON sandboxes (name) WHERE state <> 'removed';
CREATE INDEX states ON sandboxes (state);

CREATE TABLE revisions (
    sandbox  TEXT NOT NULL REFERENCES sandboxes (id),
    revision  INTEGER NOT NULL,
    policy    TEXT NOT NULL,
    digest   TEXT NOT NULL,
    created   INTEGER NOT NULL,
    push     TEXT NOT NULL CHECK (push IN ('pending', 'enforced', 'failed')),
    PRIMARY KEY (sandbox, revision)
) STRICT;

CREATE TABLE audit_sources (
    sandbox TEXT NOT NULL REFERENCES sandboxes (id),
    kind    TEXT NOT NULL CHECK (kind IN ('supervisor', 'proxy')),
    position INTEGER NOT NULL,
    PRIMARY KEY (sandbox, kind)
) STRICT;

CREATE TABLE audit_log (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    length INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    hash   TEXT NOT NULL
) STRICT;
