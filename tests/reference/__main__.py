"""`python -m tests.reference`: writes the parts of documentation that the code makes. No database is needed."""

import os

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.typing_settings"
    django.setup()
    from tests.reference import parts

    parts.write_all()
