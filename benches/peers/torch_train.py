"""PyTorch: optimiser steps on 8 sequences of 256 tokens, all parameters or peft's LoRA (r 16 on every linear layer), AdamW."""

import contextlib
import time

import workload

STEPS = 3


def main() -> None:
    options = workload.arguments(
        ("--precision", {"choices": ["bf16", "f32"], "default": "bf16"}),
        ("--lora", {"action": "store_true"}),
    )
    torch = workload.torch_ready(options.threads)
    model = workload.smollm2().load_model().train()
    if options.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    trainable = [p for p in model.parameters() if p.requires_grad]
    # fused: the fastest of PyTorch's three AdamW on a CPU
    optimiser = torch.optim.AdamW(trainable, lr=workload.LEARNING_RATE, fused=True)
    ids = torch.tensor(workload.random_ids(workload.TRAIN_SEQUENCES, workload.TRAIN_LENGTH))

    def step() -> None:
        autocast = torch.autocast("cpu", torch.bfloat16) if options.precision == "bf16" else contextlib.nullcontext()
        with autocast:
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    step()
    for round_ in range(options.rounds):
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        seconds = time.perf_counter() - start
        workload.report("lora" if options.lora else "train", round_, seconds, STEPS * ids.numel(), steps=STEPS)


if __name__ == "__main__":
    main()
