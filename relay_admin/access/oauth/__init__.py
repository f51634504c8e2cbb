"""The OAuth 2 authorization server: apps that call models in the name of a user who said yes."""
