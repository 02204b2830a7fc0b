"""The miniature world: models, services and truth for trying everything without a network."""
