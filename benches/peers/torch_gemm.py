"""PyTorch: x W^T in bf16 (oneDNN) or f32 (MKL), the two shapes of the GEMM bars."""

import time

import workload

SHAPES = [(2048, 1536, 576), (2048, 49152, 576)]
SECONDS = 1.0


def main() -> None:
    options = workload.arguments(("--precision", {"choices": ["bf16", "f32"], "default": "bf16"}))
    torch = workload.torch_ready(options.threads)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    with torch.inference_mode():
        for m, n, k in SHAPES:
            x, w = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
            torch.nn.functional.linear(x, w)
            for round_ in range(options.rounds):
                start, times = time.perf_counter(), 0
                while time.perf_counter() - start < SECONDS:
                    torch.nn.functional.linear(x, w)
                    times += 1
                seconds = (time.perf_counter() - start) / times
                workload.report("gemm", round_, seconds, 0, shape=[m, n, k], gflops=2e-9 * m * n * k / seconds)


if __name__ == "__main__":
    main()
