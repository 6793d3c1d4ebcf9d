//! How numbers lie in a file: plain f32, f16, bf16, and the block formats of GGUF, all decoded to f32.

use half::{bf16, f16};

/// Elements of a quantised block.
const BLOCK: usize = 32;

/// The encoding of one stored tensor.
///
/// Quantised blocks hold 32 neighbours of a row. With scale `d` and minimum `m` (f16) and integers `q`:
/// Q8_0 is `d q` (i8), Q4_0 is `d (q - 8)` and Q4_1 is `d q + m` (4 bits: low nibbles are elements 0 to 15, high
/// nibbles 16 to 31). See `ggml-quants.c` of llama.cpp, `dequantize_row_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the formats' own")]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
}

impl Encoding {
    /// Elements and bytes of the smallest unit.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
            Self::Q4_0 => (BLOCK, 2 + BLOCK / 2),
            Self::Q4_1 => (BLOCK, 4 + BLOCK / 2),
        }
    }

    /// Bytes of `elements` numbers; `None` if they are not whole blocks or the result overflows.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        let (block, bytes) = self.block();
        if !elements.is_multiple_of(block) {
            return None;
        }
        (elements / block).checked_mul(bytes)
    }

    /// Decodes `bytes` to `out`.
    ///
    /// # Panics
    /// If `bytes` is not [`byte_len`](Self::byte_len) of `out`'s length.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            self.byte_len(out.len()),
            Some(bytes.len()),
            "bytes of {} elements in {self:?}",
            out.len()
        );
        let (elements, size) = self.block();
        let blocks = bytes.chunks_exact(size).zip(out.chunks_exact_mut(elements));
        match self {
            Self::F32 => blocks.for_each(|(b, x)| x[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Self::F16 => blocks.for_each(|(b, x)| x[0] = half_at(b, 0)),
            Self::Bf16 => blocks.for_each(|(b, x)| x[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            Self::Q8_0 => blocks.for_each(|(b, x)| {
                let scale = half_at(b, 0);
                for (x, &q) in x.iter_mut().zip(&b[2..]) {
                    *x = scale * f32::from(q as i8);
                }
            }),
            Self::Q4_0 => blocks.for_each(|(b, x)| {
                let scale = half_at(b, 0);
                nibbles(&b[2..], x, |q| scale * (q - 8.0));
            }),
            Self::Q4_1 => blocks.for_each(|(b, x)| {
                let (scale, minimum) = (half_at(b, 0), half_at(b, 2));
                nibbles(&b[4..], x, |q| scale * q + minimum);
            }),
        }
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn nibbles(packed: &[u8], out: &mut [f32], value: impl Fn(f32) -> f32) {
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(packed) {
        *low = value(f32::from(byte & 0x0f));
        *high = value(f32::from(byte >> 4));
    }
}

/// The type of weights in files we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtype {
    /// 4 bytes: exact. For resumption.
    #[default]
    F32,
    /// 2 bytes, 11 bits of precision, largest number 65504.
    F16,
    /// 2 bytes, 8 bits of precision, the range of f32.
    Bf16,
}

impl Dtype {
    /// PyTorch's name, as in `config.json`: "float32", "float16", "bfloat16".
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The encoding of the same type.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::F32 => Encoding::F32,
            Self::F16 => Encoding::F16,
            Self::Bf16 => Encoding::Bf16,
        }
    }

    /// Appends `value`'s bytes, rounded to nearest even; `false` if it is not finite in this type.
    pub fn encode(self, value: f32, out: &mut Vec<u8>) -> bool {
        match self {
            Self::F32 => {
                out.extend(value.to_le_bytes());
                value.is_finite()
            }
            Self::F16 => {
                let value = f16::from_f32(value);
                out.extend(value.to_le_bytes());
                value.is_finite()
            }
            Self::Bf16 => {
                let value = bf16::from_f32(value);
                out.extend(value.to_le_bytes());
                value.is_finite()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One block: the given halves, then the packed integers.
    fn block(halves: &[f32], packed: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let mut bytes: Vec<u8> = halves.iter().flat_map(|&h| f16::from_f32(h).to_le_bytes()).collect();
        bytes.extend(packed);
        bytes
    }

    #[test]
    fn quantised_blocks_by_hand() {
        let mut out = [0.0; 32];
        Encoding::Q8_0.decode(&block(&[0.5], (0..32).map(|i| (i - 16) as u8)), &mut out);
        assert_eq!((out[0], out[16], out[31]), (-8.0, 0.0, 7.5));

        // Byte i holds i in its low nibble and 15 - i in its high one.
        let packed = || (0..16u8).map(|i| i | (15 - i) << 4);
        Encoding::Q4_0.decode(&block(&[0.25], packed()), &mut out);
        assert_eq!((out[0], out[15], out[16], out[31]), (-2.0, 1.75, 1.75, -2.0));
        Encoding::Q4_1.decode(&block(&[0.25, 1.0], packed()), &mut out);
        assert_eq!((out[0], out[15], out[16], out[31]), (1.0, 4.75, 4.75, 1.0));
    }

    #[test]
    fn partial_blocks_have_no_length() {
        assert_eq!(Encoding::Q4_1.byte_len(64), Some(40));
        assert_eq!(Encoding::Q4_1.byte_len(33), None);
        assert_eq!(Encoding::F32.byte_len(usize::MAX), None);
    }

    proptest! {
        #[test]
        fn floats_survive_as_far_as_their_precision(values in prop::collection::vec(-60000f32..60000.0, 1..40)) {
            for (dtype, error) in [(Dtype::F32, 0.0), (Dtype::F16, 1.0 / 2048.0), (Dtype::Bf16, 1.0 / 256.0)] {
                let mut bytes = Vec::new();
                prop_assert!(values.iter().all(|&v| dtype.encode(v, &mut bytes)));
                let mut back = vec![0.0; values.len()];
                dtype.encoding().decode(&bytes, &mut back);
                for (v, b) in values.iter().zip(&back) {
                    prop_assert!((v - b).abs() <= error * v.abs() + 1e-7, "{v} became {b} in {dtype:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_beyond_a_type_are_reported() {
        let mut bytes = Vec::new();
        assert!(!Dtype::F16.encode(70000.0, &mut bytes));
        assert!(Dtype::Bf16.encode(70000.0, &mut bytes));
        assert!(!Dtype::F32.encode(f32::NAN, &mut bytes));
    }
}
