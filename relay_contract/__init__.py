"""What two processes would break on if they disagreed about it, and nothing else.

Lives here: catalog nouns, intake rows, queue messages, the error tree, header names, Redis keys and Lua, token and
signature formats, sealing, the address guard.
Never here: Django, aiohttp, Celery or redis imports, I/O of any kind, anything that one process alone needs.
"""
