"""The formulas of rl.json in plain PyTorch, f64: what the fields mean, and the answer where TRL has none.

Where TRL does have an answer the two are compared, and a difference stops the making of the golden file.
"""

from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class Correction:
    """Truncated importance sampling between the sampler's and the trainer's log-probabilities:
    w = exp(old_logp - behaviour_logp), of a token or (log-ratios summed over mask) of a sequence; a constant weight.

    truncate: w is clamped to [min, max].  mask: w becomes 0 outside [min, max]."""

    level: str  # "token" | "sequence"
    outside: str  # "truncate" | "mask"
    max: float
    min: float | None = None

    def weights(self, batch: dict) -> torch.Tensor:
        log_ratio = (batch["old_logp"] - batch["behaviour_logp"]) * batch["mask"]
        if self.level == "sequence":
            log_ratio = log_ratio.sum(-1, keepdim=True)
        w = log_ratio.exp()
        if self.outside == "truncate":
            return w.clamp(min=self.min, max=self.max)
        return torch.where((w > self.max) | (w < (self.min or 0.0)), torch.zeros_like(w), w)


@dataclass(frozen=True)
class Objective:
    """loss = sum over tokens of mask * (policy + kl_coefficient * kl) / denominator - entropy_coefficient * mean entropy.

    policy_t = -w_t * min(r_t * A, clamp(r_t, 1 - clip_low, 1 + clip_high) * A); with ratio_cap, r_t in the first term is
    capped at it. r_t = exp(logp_t - old_logp_t) ("token"), the same for all tokens of a row = exp(mean over mask of that
    difference) ("sequence", GSPO).
    kl_t with d = reference_logp - logp: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1.
    denominator: "token" = sum of mask (or token_count, if the batch is part of a bigger one);
    "sequence" = rows * that row's mask sum; "fixed" = rows * fixed_length.
    mean entropy = sum of mask * entropy / sum of mask, whatever the denominator."""

    ratio: str = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    ratio_cap: float | None = None
    denominator: str = "token"
    token_count: int | None = None
    fixed_length: int | None = None
    kl: str | None = None
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0
    correction: Correction | None = None

    def to_json(self) -> dict:
        return asdict(self)


def policy_loss(batch: dict, o: Objective) -> dict:
    logp = batch["logp"].clone().requires_grad_()
    entropy = batch["entropy"].clone().requires_grad_()
    mask, advantage = batch["mask"], batch["advantages"][:, None]
    log_ratio = logp - batch["old_logp"]
    if o.ratio == "sequence":
        log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1))[:, None]
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - o.clip_low, 1 + o.clip_high)
    capped = ratio if o.ratio_cap is None else ratio.clamp(max=o.ratio_cap)
    per_token = -torch.min(capped * advantage, clipped * advantage)
    if o.correction is not None:
        per_token = per_token * o.correction.weights(batch)
    divergence = kl(logp, batch["reference_logp"], o.kl or "k3")
    per_token = per_token + o.kl_coefficient * divergence
    loss = (mask * per_token / denominator(mask, o)).sum()
    loss = loss - o.entropy_coefficient * (mask * entropy).sum() / mask.sum()
    loss.backward()
    return {
        "loss": loss.item(),
        "d_logp": logp.grad,
        "d_entropy": entropy.grad,
        "kl_mean": ((divergence * mask).sum() / mask.sum()).item() if o.kl_coefficient else None,
    }


def denominator(mask: torch.Tensor, o: Objective) -> torch.Tensor:
    rows = mask.shape[0]
    if o.denominator == "token":
        return torch.as_tensor(o.token_count or mask.sum())
    if o.denominator == "sequence":
        return rows * mask.sum(-1, keepdim=True)
    return torch.as_tensor(rows * o.fixed_length)


def kl(logp: torch.Tensor, reference: torch.Tensor, kind: str) -> torch.Tensor:
    """Schulman's estimators of KL(policy || reference) from the policy's samples."""
    d = reference - logp
    return {"k1": -d, "k2": d * d / 2, "k3": d.exp() - d - 1}[kind]


def gae(rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float) -> torch.Tensor:
    """Generalised advantages of each row over its tokens with mask 1, as if the others (tools, padding) were not
    there; the value after the last one is 0. Zero at the others."""
    advantages = torch.zeros_like(rewards)
    for row in range(rewards.shape[0]):
        next_value, carried = 0.0, 0.0
        for t in reversed(range(rewards.shape[1])):
            if mask[row, t] == 0:
                continue
            delta = rewards[row, t] + gamma * next_value - values[row, t]
            carried = delta + gamma * lam * carried
            advantages[row, t] = carried
            next_value = values[row, t]
    return advantages


def gae_by_trl(rewards: torch.Tensor, values: torch.Tensor, gamma: float, lam: float) -> torch.Tensor:
    """The loop of TRL's PPOTrainer (until its removal in 1.x), for right-padded rows with zero rewards and values there."""
    reversed_advantages, carried = [], 0.0
    length = rewards.shape[1]
    for t in reversed(range(length)):
        next_values = values[:, t + 1] if t < length - 1 else 0.0
        delta = rewards[:, t] + gamma * next_values - values[:, t]
        carried = delta + gamma * lam * carried
        reversed_advantages.append(carried)
    return torch.stack(reversed_advantages[::-1], dim=1)


def whiten(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """TRL's masked_whiten: (x - mean) / sqrt(variance + 1e-8) over mask, variance with n - 1; zero outside."""
    chosen = values[mask == 1]
    return torch.where(mask == 1, (values - chosen.mean()) * torch.rsqrt(chosen.var(unbiased=True) + 1e-8), torch.zeros_like(values))


def value_loss(value: torch.Tensor, old_value: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float | None) -> dict:
    """0.5 * mean over mask of max((v - R)^2, (clamp(v, old - clip, old + clip) - R)^2), as PPO's reference code and TRL's."""
    value = value.clone().requires_grad_()
    loss = (value - returns) ** 2
    if clip is not None:
        loss = torch.max(loss, (value.clamp(old_value - clip, old_value + clip) - returns) ** 2)
    loss = 0.5 * (loss * mask).sum() / mask.sum()
    loss.backward()
    return {"loss": loss.item(), "d_value": value.grad}
