"""``python -m services.command``: the same as ``weir``."""

import sys

from services.command import main

if __name__ == "__main__":
    sys.exit(main())
