"""`python -m cai_lightning.sandbox`."""

import sys

from cai_lightning.sandbox.serving import main

if __name__ == "__main__":
    sys.exit(main())
