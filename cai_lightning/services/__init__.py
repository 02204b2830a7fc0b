"""Talking to servers: addresses and keys, retries, rates, and the protocols that they speak."""
