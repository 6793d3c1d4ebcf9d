//! The GGUF container, versions 2 and 3: typed metadata, then tensors, as llama.cpp writes them.
//!
//! Format: `docs/gguf.md` of ggml. The parser reads from any [`Read`] and knows how many bytes are left: a count or
//! length is believed only as far as the file could hold it, so a hostile header can neither make it allocate more
//! than a small multiple of the file's size nor read beyond it.

use super::encoding::Encoding;
use super::tensor_store::StoredTensor;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// A metadata value. Integers and floats of all widths are kept in the widest.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant holds what its name says")]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Unsigneds(Vec<u64>),
    Signeds(Vec<i64>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
    Arrays(Vec<Value>),
}

/// A parsed header: what the file holds and where.
#[derive(Debug)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// Key and value pairs.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors under their GGUF names; all lie inside the file, none overlaps another.
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
}

impl Gguf {
    /// Names and row-major shapes (GGUF itself writes dimensions in the opposite order).
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
    }

    /// An integer that is not negative.
    pub fn integer(&self, key: &str) -> Option<u64> {
        match *self.metadata.get(key)? {
            Value::Unsigned(value) => Some(value),
            Value::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// A floating-point number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match *self.metadata.get(key)? {
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match *self.metadata.get(key)? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A string.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key)? {
            Value::Strings(values) => Some(values),
            _ => None,
        }
    }
}

/// Parses the header of a GGUF file given whole. For fuzzing; [`open_gguf`] shares all of the code.
///
/// # Errors
/// [`Error::Checkpoint`] saying what is wrong with the bytes.
pub fn parse_gguf(bytes: &[u8]) -> Result<Gguf> {
    parse(bytes, bytes.len() as u64)
        .map_err(|problem| Error::Checkpoint { path: PathBuf::from("(GGUF bytes)"), problem })
}

/// Opens a GGUF file and parses its header.
///
/// # Errors
/// [`Error::Io`], or [`Error::Checkpoint`] for a damaged file or a kind of tensor that is not read.
pub fn open_gguf(path: &Path) -> Result<(File, Gguf)> {
    let io_error = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io_error)?;
    let length = file.metadata().map_err(io_error)?.len();
    let gguf = parse(BufReader::with_capacity(1 << 16, &mut file), length)
        .map_err(|problem| Error::Checkpoint { path: path.to_owned(), problem })?;
    Ok((file, gguf))
}

/// Arrays of arrays of arrays exist nowhere; without a bound a header could overflow the stack.
const DEEPEST_ARRAY: u32 = 3;
const MOST_DIMENSIONS: u32 = 4;

fn damaged(what: impl std::fmt::Display) -> String {
    format!("{what}; the file is damaged or incomplete: fetch it again")
}

fn parse(reader: impl Read, length: u64) -> Result<Gguf, String> {
    let mut input = Input { reader, left: length };
    if input.bytes::<4>().ok() != Some(*b"GGUF") {
        return Err(
            "does not start with \"GGUF\"; give a GGUF file or a folder in the Hugging Face layout".into()
        );
    }
    let version = input.u32()?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 2 | 3) => {
            return Err("is a big-endian GGUF; only little-endian ones are read: convert it again".into());
        }
        _ => {
            return Err(format!(
                "has GGUF version {version}; 2 and 3 are read: convert it with a newer llama.cpp"
            ));
        }
    }
    // A tensor takes at least a name's length, dimensions' count, one dimension, a type and an offset.
    let tensor_count = input.count(8 + 4 + 8 + 4 + 8)?;
    let pair_count = input.count(8 + 4 + 1)?;

    let mut metadata = BTreeMap::new();
    for _ in 0..pair_count {
        let key = input.string()?;
        let kind = input.u32()?;
        let value = input.value(kind, 0).map_err(|problem| format!("metadata {key:?}: {problem}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(damaged(format_args!("metadata {key:?} is there twice")));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(&Value::Unsigned(n)) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => n,
        Some(other) => return Err(damaged(format_args!("general.alignment is {other:?}"))),
    };
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = input.string()?;
        let tensor = input.tensor_info().map_err(|problem| format!("tensor {name:?}: {problem}"))?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(damaged(format_args!("tensor {name:?} is there twice")));
        }
    }
    let data_start = (length - input.left).next_multiple_of(alignment);
    place(&mut tensors, data_start, alignment, length)?;
    Ok(Gguf { version, metadata, tensors })
}

/// Turns offsets within the data into places in the file, after checking that every tensor has its own bytes there.
fn place(
    tensors: &mut BTreeMap<String, StoredTensor>,
    data_start: u64,
    alignment: u64,
    file_length: u64,
) -> Result<(), String> {
    let mut taken = BTreeSet::new();
    for (name, tensor) in tensors.iter_mut() {
        let elements: usize = tensor.shape.iter().product();
        let bytes = tensor.encoding.byte_len(elements).unwrap_or(usize::MAX) as u64;
        let offset = tensor.start;
        let start = data_start.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(bytes)).filter(|&end| end <= file_length);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(damaged(format_args!(
                "tensor {name:?} has {bytes} bytes at {offset} of the data; the file ends before"
            )));
        };
        if !offset.is_multiple_of(alignment) {
            return Err(damaged(format_args!(
                "tensor {name:?} is at {offset}, not a multiple of {alignment}"
            )));
        }
        tensor.start = start;
        taken.insert((start, end));
    }
    let overlaps = taken.iter().zip(taken.iter().skip(1)).any(|(&(_, end), &(next, _))| next < end);
    if overlaps || taken.len() < tensors.len() {
        return Err(damaged("two tensors lie on the same bytes"));
    }
    Ok(())
}

/// What is left of the file.
struct Input<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Input<R> {
    fn claim(&mut self, bytes: u64) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| damaged(format_args!("{bytes} bytes are needed, {} are left", self.left)))?;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(damaged)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Result<bool, String> {
        let [byte] = self.bytes()?;
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(damaged(format_args!("a truth value is {byte}"))),
        }
    }

    /// A number of things that take at least `smallest` bytes each.
    fn count(&mut self, smallest: u64) -> Result<usize, String> {
        let count = self.u64()?;
        if count > self.left / smallest {
            return Err(damaged(format_args!("{count} items are announced, {} bytes are left", self.left)));
        }
        usize::try_from(count).map_err(damaged)
    }

    fn string(&mut self) -> Result<String, String> {
        let length = self.count(1)?;
        self.claim(length as u64)?;
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).map_err(damaged)?;
        String::from_utf8(bytes).map_err(|_| damaged("a string is not UTF-8"))
    }

    fn many<T>(
        &mut self,
        smallest: u64,
        mut one: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let count = self.count(smallest)?;
        (0..count).map(|_| one(self)).collect()
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, String> {
        Ok(match kind {
            kind::STRING => Value::String(self.string()?),
            kind::BOOL => Value::Bool(self.bool()?),
            kind::ARRAY => self.array(depth)?,
            kind::U8 | kind::U16 | kind::U32 | kind::U64 => Value::Unsigned(self.unsigned(kind)?),
            kind::I8 | kind::I16 | kind::I32 | kind::I64 => Value::Signed(self.signed(kind)?),
            kind::F32 | kind::F64 => Value::Float(self.float(kind)?),
            other => return Err(damaged(format_args!("has the unknown type {other}"))),
        })
    }

    fn array(&mut self, depth: u32) -> Result<Value, String> {
        if depth == DEEPEST_ARRAY {
            return Err(damaged("arrays are nested too deeply"));
        }
        let kind = self.u32()?;
        Ok(match kind {
            kind::STRING => Value::Strings(self.many(8, Self::string)?),
            kind::BOOL => Value::Bools(self.many(1, Self::bool)?),
            kind::ARRAY => Value::Arrays(self.many(12, |input| input.array(depth + 1))?),
            kind::U8 | kind::U16 | kind::U32 | kind::U64 => {
                Value::Unsigneds(self.many(1, |input| input.unsigned(kind))?)
            }
            kind::I8 | kind::I16 | kind::I32 | kind::I64 => {
                Value::Signeds(self.many(1, |input| input.signed(kind))?)
            }
            kind::F32 | kind::F64 => Value::Floats(self.many(4, |input| input.float(kind))?),
            other => return Err(damaged(format_args!("is an array of the unknown type {other}"))),
        })
    }

    fn unsigned(&mut self, kind: u32) -> Result<u64, String> {
        Ok(match kind {
            kind::U8 => u8::from_le_bytes(self.bytes()?).into(),
            kind::U16 => u16::from_le_bytes(self.bytes()?).into(),
            kind::U32 => self.u32()?.into(),
            _ => self.u64()?,
        })
    }

    fn signed(&mut self, kind: u32) -> Result<i64, String> {
        Ok(match kind {
            kind::I8 => i8::from_le_bytes(self.bytes()?).into(),
            kind::I16 => i16::from_le_bytes(self.bytes()?).into(),
            kind::I32 => i32::from_le_bytes(self.bytes()?).into(),
            _ => i64::from_le_bytes(self.bytes()?),
        })
    }

    fn float(&mut self, kind: u32) -> Result<f64, String> {
        Ok(match kind {
            kind::F32 => f32::from_le_bytes(self.bytes()?).into(),
            _ => f64::from_le_bytes(self.bytes()?),
        })
    }

    /// A tensor's shape, type and offset within the data; the name is already read.
    fn tensor_info(&mut self) -> Result<StoredTensor, String> {
        let dimensions = self.u32()?;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(damaged(format_args!("has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).map_err(damaged)?);
        }
        let encoding = encoding_of(self.u32()?)?;
        let start = self.u64()?;
        let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).filter(|&n| n > 0);
        let row = shape[0];
        if elements.and_then(|n| encoding.byte_len(n)).is_none() || encoding.byte_len(row).is_none() {
            return Err(damaged(format_args!("dimensions {shape:?} cannot be stored as {encoding:?}")));
        }
        shape.reverse();
        Ok(StoredTensor { start, encoding, shape, paired_heads: None })
    }
}

/// Types of metadata values, `gguf_metadata_value_type`.
mod kind {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// Types of tensors, `ggml_type`.
fn encoding_of(ggml_type: u32) -> Result<Encoding, String> {
    Ok(match ggml_type {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        8 => Encoding::Q8_0,
        30 => Encoding::Bf16,
        other => {
            return Err(format!(
                "has ggml type {other}, which is not read; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are: \
                 take the model in one of these, for instance by llama-quantize"
            ));
        }
    })
}
