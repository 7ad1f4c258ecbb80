"""`python -m alpt_lib`: see companion/command_line.py."""

import sys

from companion.command_line import main

if __name__ == "__main__":
    sys.exit(main())
