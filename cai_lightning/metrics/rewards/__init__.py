"""Reward models by the layout that they come in, one file each; `RewardModel` scores responses with them."""
