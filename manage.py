#!/usr/bin/env python
"""Django's command line. `python manage.py help` lists the commands, ours under [catalog], [access], [deliveries]."""

import os
import sys

from django.core.management import execute_from_command_line

from relay_admin.access.acting import Via, acting_as

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relay_admin.settings")
    with acting_as(Via.COMMAND, " ".join(sys.argv[1:2])):
        execute_from_command_line(sys.argv)
