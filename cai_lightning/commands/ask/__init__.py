"""Asking the models of an experiment: one prompt side by side, or a chat."""
