"""The workers: they take committed deliveries from Postgres, send them to their targets and record what came of it.

Lives here: claiming, sending, judging, waiting, recording, and what a schedule runs. Never here: anything between a
caller's request and its answer, or a second copy of the queue: Celery and Redis carry wake-ups, and losing all of them
costs at most one due-scan (1 s).
"""
