"""`manage.py backup` and `restore`: the whole database as one file, of one moment, without Postgres' own programs.

archive.py is the file, tables.py what a database holds, dump.py and load.py the way there and back. Not in it: master
keys and the rest of the environment, roles and grants (`manage.py edge_role`), Redis, rows that edges have spilled.
"""
