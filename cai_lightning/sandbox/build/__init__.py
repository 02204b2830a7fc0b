"""Builders of the sandbox's models, one file each; `scripts/build_sandbox.py` runs them."""
