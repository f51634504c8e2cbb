"""The control plane: a Django project that owns Postgres, the admin site, keys and the control API.

Lives here: models, migrations, services (writes), selectors (reads), admin pages, commands. One app a book: `catalog`,
`access`, `deliveries`. Never here: anything that runs between a caller's request and its answer.
"""
