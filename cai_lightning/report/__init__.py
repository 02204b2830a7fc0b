"""What validate found, compared and shown: tables, plots, one page."""
