"""What a run is made of: records, files that survive being killed, and what it was made under."""
