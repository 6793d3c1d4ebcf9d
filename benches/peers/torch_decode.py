"""transformers: greedy decoding of a batch, 64 prompt tokens and 64 new ones, weights and activations in bf16 (or f32)."""

import time

import workload


def main() -> None:
    options = workload.arguments(
        ("--precision", {"choices": ["bf16", "f32"], "default": "bf16"}),
        ("--batch", {"type": int, "default": 1}),
    )
    torch = workload.torch_ready(options.threads)
    model = workload.smollm2().load_model(torch.bfloat16 if options.precision == "bf16" else torch.float32)
    ids = torch.tensor(workload.random_ids(options.batch, workload.PROMPT_TOKENS))

    @torch.inference_mode()
    def decode(new_tokens: int) -> tuple[float, float]:
        """The loop inside generate() without its bookkeeping: seconds of the prefill, seconds of the steps after it."""
        start = time.perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)
        prefilled = time.perf_counter()
        for _ in range(new_tokens):
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        return prefilled - start, time.perf_counter() - prefilled

    decode(8)
    for round_ in range(options.rounds):
        prefill, seconds = decode(workload.NEW_TOKENS)
        tokens = options.batch * workload.NEW_TOKENS
        workload.report("decode", round_, seconds, tokens, batch=options.batch, prefill_seconds=prefill)


if __name__ == "__main__":
    main()
