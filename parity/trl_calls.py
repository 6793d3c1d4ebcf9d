"""Calls into TRL's own trainers without a model, a data set or a training run.

The losses are the trainers' `_compute_loss`, called on a stand-in `self` whose log-probabilities and entropies are the
given tensors. The advantages are the very statements of the trainers' `_generate_and_score_completions`, found in
their syntax tree and executed alone: that function also generates, so it cannot be called.
"""

import ast
import inspect
import textwrap
from collections import defaultdict
from types import SimpleNamespace

import torch
from trl.trainer import grpo_trainer, rloo_trainer

from golden_rl_formulas import Objective


def grpo_loss(inputs: dict, objective: Objective, loss_type: str, dtype=torch.float64) -> dict:
    """GRPOTrainer._compute_loss. `inputs`: rows x columns tensors named as in rl.json's `batch`."""
    logp = inputs["logp"].clone().requires_grad_()
    entropy = inputs["entropy"].clone().requires_grad_()
    correction = objective.correction
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, entropy, None),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _entropy_bonus_enabled=objective.entropy_coefficient != 0,
        accelerator=SimpleNamespace(num_processes=1, sync_gradients=True, gather=lambda x: x, reduce=lambda x, **_: x),
        args=SimpleNamespace(delta=objective.ratio_cap, use_bias_correction_kl=False, steps_per_generation=1),
        aux_loss_enabled=False,
        beta=objective.kl_coefficient,
        current_gradient_accumulation_steps=1,
        entropy_coef=objective.entropy_coefficient,
        epsilon_high=objective.clip_high,
        epsilon_low=objective.clip_low,
        importance_sampling_level=objective.ratio,
        loss_type=loss_type,
        max_completion_length=objective.fixed_length,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_adaptive_entropy=False,
        use_vllm=correction is not None,
        vllm_importance_sampling_correction=correction is not None,
    )
    batch = {
        **dummy_ids(logp, inputs["completion_mask"]),
        "tool_mask": inputs["tool_mask"],
        "advantages": inputs["advantages"],
        "old_per_token_logps": inputs["old_logp"],
        "ref_per_token_logps": inputs["reference_logp"],
        "num_items_in_batch": torch.tensor(float(objective.token_count or inputs["mask"].sum()), dtype=dtype),
    }
    if correction is not None:
        batch["importance_sampling_ratio"] = correction.weights(inputs)
    loss = grpo_trainer.GRPOTrainer._compute_loss(trainer, None, batch)
    loss.backward()
    metrics = trainer._metrics["train"]
    return {
        "loss": loss.item(),
        "d_logp": logp.grad,
        "d_entropy": entropy.grad if entropy.grad is not None else torch.zeros_like(entropy),
        "clip_fraction": metrics["clip_ratio/region_mean"][0] if metrics["clip_ratio/region_mean"] else None,
        "kl_mean": metrics["kl"][0] if metrics["kl"] else None,
    }


def rloo_loss(inputs: dict, clip_low: float, clip_high: float) -> dict:
    """RLOOTrainer._compute_loss: the ratio of whole sequences, the sum (not the mean) of their log-ratios."""
    logp = inputs["logp"].clone().requires_grad_()
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, inputs["entropy"], None),
        _metrics=defaultdict(lambda: defaultdict(list)),
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, **_: x),
        aux_loss_enabled=False,
        epsilon_high=clip_high,
        epsilon_low=clip_low,
        model=SimpleNamespace(training=True),
    )
    batch = {
        **dummy_ids(logp, inputs["mask"]),  # this trainer knows no tool tokens: the whole mask is the completion's
        "advantages": inputs["advantages"],
        "old_logps": (inputs["old_logp"] * inputs["mask"]).sum(1),
    }
    loss = rloo_trainer.RLOOTrainer._compute_loss(trainer, None, batch)
    loss.backward()
    return {"loss": loss.item(), "d_logp": logp.grad}


def dummy_ids(logp: torch.Tensor, mask: torch.Tensor) -> dict:
    rows, columns = logp.shape
    return {
        "prompt_ids": torch.zeros(rows, 1, dtype=torch.long),
        "prompt_mask": torch.ones(rows, 1, dtype=torch.long),
        "completion_ids": torch.zeros(rows, columns, dtype=torch.long),
        "completion_mask": mask,
    }


def grpo_advantages(rewards: torch.Tensor, group: int, scale: str) -> torch.Tensor:
    """GRPOTrainer's advantages; `scale`: "group" (std of the group), "none" (mean only), "batch" (std of all)."""
    trainer = SimpleNamespace(
        multi_objective_aggregation="sum_then_normalize", scale_rewards=scale, reward_weights=torch.ones(1, dtype=rewards.dtype)
    )
    names = {
        "self": trainer,
        "rewards_per_func": rewards[:, None],
        "unscorable_mask": rewards.isnan(),
        "num_generations": group,
        "device": "cpu",
    }
    run_statements(grpo_trainer, "if self.multi_objective_aggregation ==", "advantages = torch.nan_to_num(", names)
    return names["advantages"]


def rloo_advantages(rewards: torch.Tensor, group: int, normalise: bool) -> torch.Tensor:
    """RLOOTrainer's advantages: the reward less the mean of the other samples'."""
    names = {"self": SimpleNamespace(normalize_advantages=normalise), "rewards": rewards, "num_generations": group}
    run_statements(rloo_trainer, "grouped_rewards = rewards.view(", "advantages = torch.nan_to_num(", names)
    return names["advantages"]


def run_statements(module, first: str, last: str, names: dict) -> None:
    """Executes, in `names`, the statements of `_generate_and_score_completions` from the one which begins with
    `first` to the one which begins with `last`. Fails loudly when TRL no longer has them."""
    trainer = module.GRPOTrainer if module is grpo_trainer else module.RLOOTrainer
    source = textwrap.dedent(inspect.getsource(trainer._generate_and_score_completions))
    body = ast.parse(source).body[0].body
    texts = [ast.unparse(statement) for statement in body]
    begins = [i for i, text in enumerate(texts) if text.startswith(first)]
    ends = [i for i, text in enumerate(texts) if text.startswith(last)]
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        raise SystemExit(f"{module.__name__} has changed: {first!r} found {len(begins)} times, {last!r} {len(ends)} times")
    names |= {name: getattr(module, name) for name in ("torch", "nanstd") if hasattr(module, name)}
    exec("\n".join(texts[begins[0] : ends[0] + 1]), names)
