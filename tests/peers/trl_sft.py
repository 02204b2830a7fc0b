"""Stands for a baseline that trains: it reads its options, and computes the loss of the untrained model plainly."""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.inference_mode()
def untrained_loss(model, tokenizer, rows):
    """Mean loss over the tokens of all revisions and their ends of turn."""
    losses = []
    for row in rows:
        talk = [{"role": "user", "content": row["prompt"]}]
        asked = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        start = tokenizer(asked, add_special_tokens=False)["input_ids"]
        whole = tokenizer(asked + row["revision"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        logits = model(input_ids=torch.tensor([whole])).logits[0, len(start) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(whole[len(start) :]), reduction="none"))
    return torch.cat(losses).mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--mode", choices=("packed", "padded"))
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--max-length", type=int)
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    rows = [json.loads(line) for line in args.corpus.read_text().splitlines()[: args.limit]]
    loss = untrained_loss(model, AutoTokenizer.from_pretrained(args.model), rows)
    figures = {"seconds": 1.0, "tokens_per_s": 1.0, "peak_bytes": 2, "bytes_above_loaded": 1, "loss_before": loss}
    print(json.dumps({"peer": f"trl-{args.mode}", "rows": len(rows), **figures}))
