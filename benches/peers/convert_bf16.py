"""Writes the BF16 GGUF that llama.cpp decodes: the Q4_1 file's tensors dequantised, matrices rounded to bf16.

    python convert_bf16.py OUT.gguf      (in PyTorch's environment: it has gguf and the model file)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "parity"))

import gguf
from gguf.quants import dequantize, quantize

import smollm2


def main() -> None:
    out = Path(sys.argv[1])
    reader = gguf.GGUFReader(smollm2.gguf_file())
    architecture = reader.get_field(gguf.Keys.General.ARCHITECTURE).contents()
    partial = out.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, architecture)
    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        value = field.contents()
        if field.name == gguf.Keys.General.FILE_TYPE:
            value = int(gguf.LlamaFileType.MOSTLY_BF16)
        writer.add_key_value(field.name, value, kind, sub_type=element)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
        else:
            bf16 = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(tensor.name, quantize(values, bf16), raw_dtype=bf16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(out)


if __name__ == "__main__":
    main()
