"""`python -m cai_lightning`."""

import sys

from cai_lightning.cli import main

sys.exit(main())
