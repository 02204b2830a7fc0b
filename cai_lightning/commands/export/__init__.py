"""Takes a fine-tuned model out of its run, in a form that others load: `python -m cai_lightning export RUN`."""
