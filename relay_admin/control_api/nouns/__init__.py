"""The catalog's nouns under `/api/v1`: one set of views, and a declaration of each kind (`kinds.py`)."""
