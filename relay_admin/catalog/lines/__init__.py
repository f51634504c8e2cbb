"""The life of a line's configuration: a draft beside what runs, its publication, and what ran before.

A line is configured by its part of a catalog document (`documents`). Drafts and revisions keep that part as JSON.
"""
