"""The API's own document, OpenAPI 3.1, made from the views: their forms, what `answers` says of them, their addresses,
permissions and docstrings. All but `pages` is imported when somebody first asks for it."""
