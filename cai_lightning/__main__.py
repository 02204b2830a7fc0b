"""`python -m cai_lightning`."""

import sys

from cai_lightning.cli.main import main

if __name__ == "__main__":  # processes that are spawned import this module, too
    sys.exit(main())
