"""`python -m relay_sdk`."""

import sys

from relay_sdk.cli import main

sys.exit(main())
