"""Which requests a target gets, and what they become on the way: a small declarative language, written as JSON.

It executes nothing, knows no regular expressions and never coerces a type. `docs/shaping.md` is its reference.
"""
