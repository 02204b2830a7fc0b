"""The report as one HTML page: what it shows, as plain values, and how that is written down."""
