"""`python -m companion` is `alpt`."""

import sys

from companion.cli import main

sys.exit(main())
