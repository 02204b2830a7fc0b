"""Two runs before a judge: whose responses it prefers."""
