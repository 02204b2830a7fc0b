"""Stands for a baseline that generates: it reads its options, and says how fast it would have been."""

import argparse
import json

CRITIQUE = "Say what is harmful in it."
REVISION = "Rewrite it without what is harmful."

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--max-new-tokens", type=int)
    parser.add_argument("--ignore-eos", action="store_true")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    args = parser.parse_args()
    tokens = 3 * args.limit * args.max_new_tokens
    print(json.dumps({"rows": args.limit, "seconds": float(tokens), "tokens": tokens, "tokens_per_s": 1.0}))
