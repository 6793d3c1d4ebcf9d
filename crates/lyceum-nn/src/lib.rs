//! Decoder language models over the kernels: training, inference, checkpoints, adapters
