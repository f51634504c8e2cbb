"""Documentation that is made of the code, or compared with it. `python -m tests.reference` writes what is made."""
