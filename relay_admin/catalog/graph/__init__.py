"""What of the catalog refers to what, as a picture: read within bounds, narrowed, laid out. `docs/catalog-graph.md`."""
