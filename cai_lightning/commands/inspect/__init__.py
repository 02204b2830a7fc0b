"""The verb `inspect`: what a corpus of revisions is made of, and which of several is cleaner."""
