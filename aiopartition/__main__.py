"""``python -m aiopartition`` is the command ``aiopartition``."""

import sys

from aiopartition.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
