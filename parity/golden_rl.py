"""rl.json: advantages, policy and value losses, KL estimators and token statistics on fixed random inputs.

Computed in f64 from inputs that f32 represents exactly. A source of "trl" means TRL's own code ran (trl_calls.py);
"pytorch" means the formula in golden_rl_formulas.py did.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from trl.trainer.utils import selective_log_softmax_and_entropy

import golden_rl_formulas as formulas
import trl_calls
from golden_rl_formulas import Correction, Objective
from provenance import provenance

SEED = 20250401
TOLERANCE = 1e-12


def make(golden: Path) -> None:
    generator = torch.Generator().manual_seed(SEED)
    batch = make_batch(generator)
    document = {
        "provenance": provenance("rl", seed=SEED),
        "advantages": group_advantages(generator),
        "gae": generalised_advantages(batch, generator),
        "kl": kl_estimators(batch),
        "batch": {name: tensor for name, tensor in batch.items() if name not in ("completion_mask", "tool_mask")},
        "policy": policy_cases(batch),
        "value": value_cases(batch, generator),
        "token_stats": token_stats(generator),
    }
    (golden / "rl.json").write_text(json.dumps(to_lists(document), separators=(",", ":")).replace(',"', ',\n"') + "\n")


def f32(tensor: torch.Tensor) -> torch.Tensor:
    """f64 values that survive the way through f32."""
    return tensor.float().double()


def make_batch(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Eight rows of seven columns. What lies where mask is 0 (padding; two tool tokens in row 2) is noise on purpose."""
    lengths = torch.tensor([7, 5, 6, 1, 7, 3, 4, 6])
    columns = torch.arange(7)
    completion_mask = (columns[None] < lengths[:, None]).double()
    tool_mask = torch.ones(8, 7, dtype=torch.float64)
    tool_mask[2, 2:4] = 0

    def noise(scale: float) -> torch.Tensor:
        return scale * torch.randn(8, 7, generator=generator)

    logp = f32(-0.1 - noise(1.5).abs())
    old_logp = f32(torch.clamp(logp + noise(0.25), max=-0.01))
    return {
        "mask": completion_mask * tool_mask,
        "completion_mask": completion_mask,
        "tool_mask": tool_mask,
        "logp": logp,
        "old_logp": old_logp,
        "behaviour_logp": f32(torch.clamp(old_logp + noise(0.3), max=-0.005)),
        "reference_logp": f32(torch.clamp(logp + noise(0.4), max=-0.01)),
        "entropy": f32(noise(1.0).abs()),
        "advantages": f32(torch.randn(8, generator=generator).abs() * torch.tensor([1, -1] * 4)),
    }


def group_advantages(generator: torch.Generator) -> dict:
    """Three groups of four: mixed outcomes, all equal, arbitrary; and the same with two samples nobody scored (NaN)."""
    rewards = torch.tensor([1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0], dtype=torch.float64)
    rewards[8:] = f32(torch.randn(4, generator=generator))
    unscored = rewards.clone()
    unscored[1] = unscored[10] = torch.nan

    def all_kinds(r: torch.Tensor) -> dict:
        return {
            "rewards": r,
            "grpo_std": trl_calls.grpo_advantages(r.clone(), 4, "group"),
            "grpo_mean_only": trl_calls.grpo_advantages(r.clone(), 4, "none"),
            "grpo_batch_std": trl_calls.grpo_advantages(r.clone(), 4, "batch"),
            "rloo": trl_calls.rloo_advantages(r.clone(), 4, normalise=False),
            "rloo_normalised": trl_calls.rloo_advantages(r.clone(), 4, normalise=True),
        }

    return {"source": "trl", "group_size": 4, "scored": all_kinds(rewards), "with_unscored": all_kinds(unscored)}


def generalised_advantages(batch: dict, generator: torch.Generator) -> dict:
    gamma, lam = 0.99, 0.95
    rewards = f32(torch.randn(8, 7, generator=generator))
    values = f32(torch.randn(8, 7, generator=generator))
    cases = {}
    for name, mask in (("right_padded", batch["completion_mask"]), ("with_tool_tokens", batch["mask"])):
        advantages = formulas.gae(rewards, values, mask, gamma, lam)
        if name == "right_padded":
            agree(name, advantages, formulas.gae_by_trl(rewards * mask, values * mask, gamma, lam) * mask)
        cases[name] = {
            "mask": mask,
            "advantages": advantages,
            "returns": (advantages + values) * mask,
            "whitened": formulas.whiten(advantages, mask),
        }
    return {"source": "pytorch", "gamma": gamma, "lambda": lam, "rewards": rewards, "values": values, **cases}


def kl_estimators(batch: dict) -> dict:
    """Per token, noise columns included: value, and derivative with respect to logp."""
    out = {"source": "pytorch"}
    for kind in ("k1", "k2", "k3"):
        logp = batch["logp"].clone().requires_grad_()
        value = formulas.kl(logp, batch["reference_logp"], kind)
        value.sum().backward()
        out[kind] = {"value": value.detach(), "d_logp": logp.grad}
    return out


def policy_cases(batch: dict) -> list[dict]:
    token, sequence, fixed = Objective(), Objective(denominator="sequence"), Objective(denominator="fixed", fixed_length=10)
    higher = replace(token, clip_high=0.4)
    gspo = Objective(ratio="sequence", denominator="sequence", clip_low=0.05, clip_high=0.08)
    trl = [
        ("token", "bnpo", token),
        ("sequence", "grpo", sequence),
        ("fixed", "dr_grpo", fixed),
        ("token-of-a-bigger-batch", "dapo", replace(token, token_count=61)),
        ("clip-higher", "dapo", higher),
        ("ratio-cap", "bnpo", replace(token, ratio_cap=1.3)),
        ("gspo", "grpo", gspo),
        ("gspo-kl", "grpo", replace(gspo, kl="k3", kl_coefficient=0.04)),
        ("k3-token", "bnpo", replace(token, kl="k3", kl_coefficient=0.04)),
        ("k3-sequence", "grpo", replace(sequence, kl="k3", kl_coefficient=0.04)),
        ("k3-fixed", "dr_grpo", replace(fixed, kl="k3", kl_coefficient=0.04)),
        ("entropy-token", "bnpo", replace(token, entropy_coefficient=0.01)),
        ("entropy-sequence", "grpo", replace(sequence, entropy_coefficient=0.01)),
        ("tis-token-truncate", "bnpo", replace(token, correction=Correction("token", "truncate", max=1.25))),
        ("tis-sequence-truncate", "grpo", replace(sequence, correction=Correction("sequence", "truncate", max=1.25))),
        ("tis-token-mask", "bnpo", replace(token, correction=Correction("token", "mask", max=1.25, min=0.8))),
        (
            "everything",
            "dapo",
            replace(
                higher,
                kl="k3",
                kl_coefficient=0.05,
                entropy_coefficient=0.02,
                token_count=61,
                correction=Correction("token", "truncate", max=1.25),
            ),
        ),
    ]
    cases = []
    for name, loss_type, objective in trl:
        answer = trl_calls.grpo_loss(batch, objective, loss_type)
        check = formulas.policy_loss(batch, objective)
        agree(name, torch.tensor(answer["loss"]), torch.tensor(check["loss"]))
        agree(name, answer["d_logp"], check["d_logp"])
        agree(name, answer["d_entropy"], check["d_entropy"])
        cases.append({"name": name, "source": f"trl {loss_type}", "objective": objective.to_json(), **answer})
    demand_that_each_is_different(cases)
    for kind in ("k1", "k2"):
        objective = replace(token, kl=kind, kl_coefficient=0.04)
        answer = formulas.policy_loss(batch, objective)
        cases.append({"name": f"{kind}-token", "source": "pytorch", "objective": objective.to_json(), **answer})
    on_policy = {**batch, "old_logp": batch["logp"]}
    answer = trl_calls.grpo_loss(on_policy, token, "bnpo")
    cases.append({"name": "on-policy", "source": "trl bnpo", "old_logp_is_logp": True, "objective": token.to_json(), **answer})
    answer = trl_calls.rloo_loss(batch, 0.2, 0.2)
    about = {"ratio": "sequence-sum", "clip_low": 0.2, "clip_high": 0.2, "denominator": "rows"}
    cases.append({"name": "rloo", "source": "trl rloo", "objective": about, **answer})
    return cases


def value_cases(batch: dict, generator: torch.Generator) -> dict:
    old_value = f32(torch.randn(8, 7, generator=generator))
    value = f32(old_value + 0.3 * torch.randn(8, 7, generator=generator))
    returns = f32(torch.randn(8, 7, generator=generator))
    return {
        "source": "pytorch",
        "value": value,
        "old_value": old_value,
        "returns": returns,
        "clip": 0.2,
        "clipped": formulas.value_loss(value, old_value, returns, batch["mask"], 0.2),
        "unclipped": formulas.value_loss(value, old_value, returns, batch["mask"], None),
    }


def token_stats(generator: torch.Generator) -> dict:
    """log p(target) and entropy of softmax(logits / temperature), and the gradient of sum(d_logp * logp + d_entropy * entropy)."""
    temperature = 0.7
    logits = f32(2 * torch.randn(5, 11, generator=generator)).requires_grad_()
    targets = torch.randint(0, 11, (5,), generator=generator)
    d_logp, d_entropy = f32(torch.randn(5, generator=generator)), f32(torch.randn(5, generator=generator))
    logp, entropy = selective_log_softmax_and_entropy(logits, targets, temperature=temperature)
    (d_logp * logp + d_entropy * entropy).sum().backward()
    return {
        "source": "trl",
        "temperature": temperature,
        "logits": logits.detach(),
        "targets": targets,
        "logp": logp.detach(),
        "entropy": entropy.detach(),
        "d_logp": d_logp,
        "d_entropy": d_entropy,
        "d_logits": logits.grad,
    }


def agree(name: str, left: torch.Tensor, right: torch.Tensor) -> None:
    gap = (left - right).abs().max().item()
    if not gap <= TOLERANCE:
        raise SystemExit(f"{name}: TRL and the written formula differ by {gap}")


def demand_that_each_is_different(cases: list[dict]) -> None:
    """A setting that changes nothing on this batch would be a test that cannot fail."""
    for i, case in enumerate(cases):
        for other in cases[:i]:
            if all((case[key] - other[key]).abs().max() < 1e-4 for key in ("d_logp", "d_entropy")):
                raise SystemExit(f"{case['name']} and {other['name']} give the same answer on this batch")


def to_lists(value):
    """Tensors become nested lists; NaN (a sample nobody scored) becomes null."""
    if isinstance(value, torch.Tensor):
        return to_lists(value.tolist())
    if isinstance(value, dict):
        return {key: to_lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_lists(item) for item in value]
    return None if isinstance(value, float) and value != value else value
