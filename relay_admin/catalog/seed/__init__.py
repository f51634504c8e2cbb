"""`manage.py catalog seed`: hosts, models, prices and bindings of known vendors, and how they are kept current.

`data` says what the vendors offer, `overlay` whose a field is, `seeding` compares and writes. docs/pricing.md tells
operators. Needs no network: the prices come in the wheel of `genai-prices`.
"""
