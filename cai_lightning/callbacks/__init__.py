"""What watches a verb at work: records, checkpoints, progress, speed."""
