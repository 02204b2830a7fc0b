"""What is pretrained: opened from a folder or a hub, checked, adapted."""
