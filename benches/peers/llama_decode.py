"""llama.cpp: greedy decoding of a batch, 64 prompt tokens and 64 new ones, through its C interface (as llama-batched-bench)."""

import ctypes
import time

import llama_cpp
import numpy as np

import workload


def main() -> None:
    options = workload.arguments(("--batch", {"type": int, "default": 1}), ("--model", {"required": True}))
    llama_cpp.llama_log_set(quiet, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(options.model.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot load {options.model}")
    context = new_context(model, options.batch, options.threads)
    system = llama_cpp.llama_print_system_info().decode()
    ids = workload.random_ids(options.batch, workload.PROMPT_TOKENS)
    decode(context, ids, 8)
    for round_ in range(options.rounds):
        prefill, seconds = decode(context, ids, workload.NEW_TOKENS)
        tokens = options.batch * workload.NEW_TOKENS
        workload.report("decode", round_, seconds, tokens, batch=options.batch, prefill_seconds=prefill, system=system)


@llama_cpp.llama_log_callback
def quiet(level, text, _) -> None:
    pass


def new_context(model, rows: int, threads: int):
    parameters = llama_cpp.llama_context_default_params()
    length = workload.PROMPT_TOKENS + workload.NEW_TOKENS
    parameters.n_ctx = rows * length
    parameters.n_batch = rows * workload.PROMPT_TOKENS
    parameters.n_seq_max = rows
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise SystemExit("llama.cpp makes no context")
    return context


def decode(context, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
    """Seconds of the prefill, seconds of the steps after it; greedy, from an empty cache."""
    rows, prompt_tokens = len(prompts), len(prompts[0])
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    batch = llama_cpp.llama_batch_init(rows * prompt_tokens, 0, 1)
    start = time.perf_counter()
    fill(batch, [(token, at, row, at == prompt_tokens - 1) for row, ids in enumerate(prompts) for at, token in enumerate(ids)])
    run(context, batch)
    tokens = greedy(context, [prompt_tokens * (row + 1) - 1 for row in range(rows)])
    prefilled = time.perf_counter()
    for step in range(new_tokens):
        fill(batch, [(token, prompt_tokens + step, row, True) for row, token in enumerate(tokens)])
        run(context, batch)
        tokens = greedy(context, range(rows))
    done = time.perf_counter()
    llama_cpp.llama_batch_free(batch)
    return prefilled - start, done - prefilled


def fill(batch, entries: list[tuple[int, int, int, bool]]) -> None:
    """(token, position, sequence, whether its logits are wanted)"""
    batch.n_tokens = len(entries)
    for i, (token, position, sequence, wanted) in enumerate(entries):
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = wanted


def run(context, batch) -> None:
    code = llama_cpp.llama_decode(context, batch)
    if code != 0:
        raise SystemExit(f"llama_decode returned {code}")


def greedy(context, rows) -> list[int]:
    return [int(np.argmax(row_of(context, row))) for row in rows]


def row_of(context, row: int) -> np.ndarray:
    pointer = llama_cpp.llama_get_logits_ith(context, row)
    return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (workload.VOCABULARY,))


if __name__ == "__main__":
    main()
