//! Writes small GGUF files for tests: the inverse of the reader, straight from the format's description.

use half::f16;

pub struct GgufWriter {
    pairs: Vec<u8>,
    pair_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
    alignment: usize,
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl GgufWriter {
    pub fn new() -> Self {
        Self {
            pairs: Vec::new(),
            pair_count: 0,
            infos: Vec::new(),
            tensor_count: 0,
            data: Vec::new(),
            alignment: 32,
        }
    }

    fn pair(&mut self, key: &str, kind: u32, value: &[u8]) {
        string(&mut self.pairs, key);
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend(value);
        self.pair_count += 1;
    }

    pub fn u32(&mut self, key: &str, value: u32) {
        self.pair(key, 4, &value.to_le_bytes());
    }

    pub fn f32(&mut self, key: &str, value: f32) {
        self.pair(key, 6, &value.to_le_bytes());
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.pair(key, 7, &[u8::from(value)]);
    }

    pub fn string(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        string(&mut bytes, value);
        self.pair(key, 8, &bytes);
    }

    pub fn strings(&mut self, key: &str, values: &[&str]) {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| string(&mut bytes, value));
        self.pair(key, 9, &bytes);
    }

    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        let mut bytes = 5u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self.pair(key, 9, &bytes);
    }

    pub fn set_alignment(&mut self, alignment: usize) {
        self.u32("general.alignment", alignment as u32);
        self.alignment = alignment;
    }

    /// Adds a tensor; `shape` is row-major. Returns what a reader must decode.
    pub fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32], kind: Kind) -> Vec<f32> {
        string(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&n| self.infos.extend((n as u64).to_le_bytes()));
        self.infos.extend(kind.ggml_type().to_le_bytes());
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.tensor_count += 1;
        kind.encode(values, &mut self.data)
    }

    pub fn bytes(&self, version: u32) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(version.to_le_bytes());
        out.extend(self.tensor_count.to_le_bytes());
        out.extend(self.pair_count.to_le_bytes());
        out.extend(&self.pairs);
        out.extend(&self.infos);
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.data);
        out
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
}

pub const KINDS: [Kind; 6] = [Kind::F32, Kind::F16, Kind::Bf16, Kind::Q8_0, Kind::Q4_0, Kind::Q4_1];

impl Kind {
    fn ggml_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 8,
            Self::Bf16 => 30,
        }
    }

    fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Vec<f32> {
        match self {
            Self::F32 => {
                out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
                values.to_vec()
            }
            Self::F16 => values
                .iter()
                .map(|&v| {
                    out.extend(f16::from_f32(v).to_le_bytes());
                    f16::from_f32(v).to_f32()
                })
                .collect(),
            Self::Bf16 => values
                .iter()
                .map(|&v| {
                    out.extend(half::bf16::from_f32(v).to_le_bytes());
                    half::bf16::from_f32(v).to_f32()
                })
                .collect(),
            Self::Q8_0 => values.chunks(32).flat_map(|block| q8_0(block, out)).collect(),
            Self::Q4_0 => values
                .chunks(32)
                .flat_map(|block| {
                    let largest = block.iter().fold(0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
                    let scale = half(largest / -8.0, out);
                    nibbles(block, out, scale, -8.0 * scale)
                })
                .collect(),
            Self::Q4_1 => values
                .chunks(32)
                .flat_map(|block| {
                    let low = block.iter().copied().fold(f32::MAX, f32::min);
                    let high = block.iter().copied().fold(f32::MIN, f32::max);
                    let scale = half((high - low) / 15.0, out);
                    let low = half(low, out);
                    nibbles(block, out, scale, low)
                })
                .collect(),
        }
    }
}

fn half(value: f32, out: &mut Vec<u8>) -> f32 {
    let value = f16::from_f32(value);
    out.extend(value.to_le_bytes());
    value.to_f32()
}

fn q8_0(block: &[f32], out: &mut Vec<u8>) -> Vec<f32> {
    let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
    let scale = half(largest / 127.0, out);
    let quantised = block.iter().map(|v| if scale == 0.0 { 0 } else { (v / scale).round() as i8 });
    quantised
        .map(|q| {
            out.push(q as u8);
            scale * f32::from(q)
        })
        .collect()
}

/// 4-bit integers `q` so that a value is about `scale q + low`; element i shares its byte with element i + 16.
fn nibbles(block: &[f32], out: &mut Vec<u8>, scale: f32, low: f32) -> Vec<f32> {
    let q: Vec<u8> = block
        .iter()
        .map(|v| if scale == 0.0 { 0 } else { ((v - low) / scale).round().clamp(0.0, 15.0) as u8 })
        .collect();
    out.extend((0..16).map(|i| q[i] | q[i + 16] << 4));
    q.iter().map(|&q| scale * f32::from(q) + low).collect()
}
