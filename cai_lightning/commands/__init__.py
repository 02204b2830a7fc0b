"""Verbs that train nothing: compare, inspect, audit, pairwise, export, import, ask."""
