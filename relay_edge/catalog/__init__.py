"""The catalog in memory: an immutable snapshot, and the two files that fill it from Postgres."""
