"""The admin's home: whether all is well, what passed, what changed, who is needed; and the first steps.

`page.py` puts it together from Postgres alone; `live.py` asks the other processes, after the page is there.
"""
