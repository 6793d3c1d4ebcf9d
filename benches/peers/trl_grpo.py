"""TRL: whole GRPO steps (generate, reward, advantages, one update of all parameters) with GRPOTrainer as it comes.

Its fastest form here: no gradient checkpointing, no reference model (beta 0), one update per rollout, fused AdamW.
EOS is kept from being sampled, so that every completion has the full length.
"""

import tempfile
import time

import workload


def main() -> None:
    options = workload.arguments(
        ("--precision", {"choices": ["bf16", "f32"], "default": "bf16"}),
        ("--batch", {"type": int, "default": 4, "help": "prompts"}),
        ("--samples", {"type": int, "default": 8}),
        ("--new-tokens", {"type": int, "default": 64}),
        ("--accumulate", {"type": int, "default": 1, "help": "micro-batches of an update"}),
    )
    torch = workload.torch_ready(options.threads)
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    rows = options.batch * options.samples
    counted = {"prompt": 0, "completion": 0}

    def reward(prompts, completions, completion_ids, **_) -> list[float]:
        """Shape of a reward, not its worth: different within a group, so that no gradient is zero."""
        counted["completion"] += sum(map(len, completion_ids))
        return [float(len(set(ids))) for ids in completion_ids]

    class Clock(TrainerCallback):
        """A step's time, generation included: on_step_begin comes before the batch is generated."""

        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_, **__) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__) -> None:
            self.seconds.append(time.perf_counter() - self.start)

    prompts = workload.grpo_prompts(options.batch)
    counted["prompt"] = options.samples * sum(len(p["ids"]) for p in prompts)
    tokenizer = workload.smollm2().load_tokenizer()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=workload.smollm2().load_model(),
            reward_funcs=reward,
            train_dataset=Dataset.from_list([{"prompt": p["prompt"]} for p in prompts]),
            processing_class=tokenizer,
            callbacks=[clock],
            args=GRPOConfig(
                output_dir=folder,
                use_cpu=True,
                bf16=options.precision == "bf16",
                per_device_train_batch_size=rows // options.accumulate,
                gradient_accumulation_steps=options.accumulate,
                num_generations=options.samples,
                max_completion_length=options.new_tokens,
                generation_kwargs={"min_new_tokens": options.new_tokens},
                max_steps=1 + options.rounds,
                num_iterations=1,
                beta=0.0,
                learning_rate=workload.LEARNING_RATE,
                lr_scheduler_type="constant",
                gradient_checkpointing=False,
                shuffle_dataset=False,
                optim="adamw_torch_fused",
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=1,
            ),
        )
        trainer.train()
    expected = (1 + options.rounds) * rows * options.new_tokens
    if counted["completion"] != expected:
        raise SystemExit(f"{counted['completion']} tokens sampled, {expected} expected")
    for round_, seconds in enumerate(clock.seconds[1:]):
        workload.report(
            "grpo",
            round_,
            seconds,
            rows * options.new_tokens,
            batch=options.batch,
            samples=options.samples,
            new_tokens=options.new_tokens,
            prompt_tokens=counted["prompt"],
        )


if __name__ == "__main__":
    main()
