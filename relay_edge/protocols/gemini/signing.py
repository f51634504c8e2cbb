"""Where Gemini's thought signatures belong (ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11).

Gemini signs parts of an answer: a call of a tool, words, a thought. Callers' shapes have signatures on thinking only,
so a signature leaves on a block of thinking before its part, marked with the part that it belongs to.
"""

MAKER = "gemini"
CALL = "call."  # and the call's id
TEXT = "text"
THOUGHT = "thought"

UNSIGNED = "skip_thought_signature_validator"
"""What the vendor wants on calls that were made elsewhere, or whose signature a caller lost: models from 3 on answer
400 to a call without any."""
