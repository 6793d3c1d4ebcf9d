//! The safetensors format: a JSON header with names, types, shapes and byte ranges, then the bytes.
//!
//! Headers are parsed and validated by the `safetensors` crate (ranges that tile the data without gaps or overlap,
//! sizes that match shapes, no overflow); what the crate leaves to the caller, the file's length, is checked here.

use super::atomic::write_atomically;
use super::encoding::{Dtype, Encoding};
use super::tensor_store::{StoredTensor, TensorStore};
use crate::policy::NamedTensor;
use crate::{Error, Result};
use ::safetensors::tensor::{Dtype as StoredDtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The header's length field.
const LENGTH_BYTES: usize = 8;
/// The format's own bound on a header.
const LONGEST_HEADER: u64 = 100_000_000;

/// Free-form strings in a header's `__metadata__`.
pub type Notes = HashMap<String, String>;

/// Parses and checks the header of a safetensors file given whole. For fuzzing; files are opened by
/// [`open_safetensors`], which shares all of the code.
///
/// # Errors
/// [`Error::Checkpoint`] saying what is wrong with the bytes.
pub fn parse_safetensors_header(bytes: &[u8]) -> Result<Vec<(String, Vec<usize>)>> {
    let (tensors, _) = read_header(bytes, bytes.len() as u64)
        .map_err(|problem| Error::Checkpoint { path: PathBuf::from("(safetensors bytes)"), problem })?;
    Ok(tensors.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect())
}

/// Opens a safetensors file and returns its tensors and notes.
///
/// # Errors
/// [`Error::Io`], or [`Error::Checkpoint`] for a damaged file or a type that is not f32, f16 or bf16.
pub fn open_safetensors(path: &Path) -> Result<(TensorStore, Notes)> {
    let mut store = TensorStore::default();
    let notes = add_safetensors(&mut store, path)?;
    Ok((store, notes))
}

/// Adds a file's tensors to a store, for models in several files.
pub(crate) fn add_safetensors(store: &mut TensorStore, path: &Path) -> Result<Notes> {
    let io_error = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io_error)?;
    let length = file.metadata().map_err(io_error)?.len();
    let (tensors, notes) = read_header(&mut file, length)
        .map_err(|problem| Error::Checkpoint { path: path.to_owned(), problem })?;
    store.add(path, file, tensors);
    Ok(notes)
}

type Header = (Vec<(String, StoredTensor)>, Notes);

fn read_header(mut reader: impl Read, file_length: u64) -> Result<Header, String> {
    let damaged = |what: String| format!("{what}; the file is damaged or incomplete: fetch it again");
    let mut length = [0; LENGTH_BYTES];
    reader.read_exact(&mut length).map_err(|_| damaged("is too short for safetensors".into()))?;
    let header_length = u64::from_le_bytes(length);
    let after_length = file_length.saturating_sub(LENGTH_BYTES as u64);
    if header_length > after_length.min(LONGEST_HEADER) {
        return Err(damaged(format!(
            "the header claims {header_length} bytes, the file has {after_length} after its first 8"
        )));
    }
    let mut header = vec![0; header_length as usize];
    reader.read_exact(&mut header).map_err(|e| damaged(format!("cannot read the header: {e}")))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| damaged(format!("the header is not valid: {e}")))?;

    let data_length = after_length - header_length;
    if metadata.data_len() as u64 != data_length {
        return Err(damaged(format!(
            "the header describes {} bytes of tensors, the file has {data_length}",
            metadata.data_len()
        )));
    }
    let data_start = LENGTH_BYTES as u64 + header_length;
    // A table of positions that checkpoints of BERT carry along: 0, 1, 2, ... and no weight.
    let weights = metadata.tensors().into_iter().filter(|(name, _)| !name.ends_with("position_ids"));
    let tensors = weights.map(|(name, info)| {
        let encoding = match info.dtype {
            StoredDtype::F32 => Encoding::F32,
            StoredDtype::F16 => Encoding::F16,
            StoredDtype::BF16 => Encoding::Bf16,
            other => {
                return Err(format!(
                    "tensor {name:?} has type {other}; F32, F16 and BF16 are read: convert the model to one of these"
                ));
            }
        };
        let start = data_start + info.data_offsets.0 as u64;
        Ok((name, StoredTensor { start, encoding, shape: info.shape.clone(), paired_heads: None }))
    });
    Ok((tensors.collect::<Result<_, _>>()?, metadata.metadata().clone().unwrap_or_default()))
}

/// Writes tensors to a safetensors file: whole or not at all.
///
/// # Errors
/// [`Error::Numeric`] if a number is not finite in `dtype` (an older file then stays); [`Error::Io`].
///
/// # Panics
/// If a tensor's data is not as long as its shape says.
pub fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    dtype: Dtype,
    notes: &Notes,
) -> Result<()> {
    let header = header_of(tensors, dtype, notes).map_err(|e| Error::Checkpoint {
        path: path.to_owned(),
        problem: format!("cannot be written: {e}"),
    })?;
    let mut not_finite = None;
    let written = write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let mut bytes = Vec::new();
        for tensor in tensors {
            for chunk in tensor.data.chunks(1 << 16) {
                bytes.clear();
                for &value in chunk {
                    if !dtype.encode(value, &mut bytes) {
                        not_finite = Some((tensor.name, value));
                        return Err(std::io::Error::other("a number is not finite"));
                    }
                }
                out.write_all(&bytes)?;
            }
        }
        Ok(())
    });
    match not_finite {
        Some((name, value)) => Err(Error::Numeric(format!(
            "{value} in tensor {name:?} cannot be written as {}; {} was left as it was",
            dtype.torch_name(),
            path.display()
        ))),
        None => written,
    }
}

fn header_of(tensors: &[NamedTensor<'_>], dtype: Dtype, notes: &Notes) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(elements, tensor.data.len(), "shape and data of tensor {:?}", tensor.name);
        let start = end;
        end += elements * dtype.encoding().block().1;
        let dtype = match dtype {
            Dtype::F32 => StoredDtype::F32,
            Dtype::F16 => StoredDtype::F16,
            Dtype::Bf16 => StoredDtype::BF16,
        };
        (
            tensor.name.to_owned(),
            TensorInfo { dtype, shape: tensor.shape.to_vec(), data_offsets: (start, end) },
        )
    });
    // transformers refuses a file whose notes do not name the framework.
    let mut notes = notes.clone();
    notes.entry("format".into()).or_insert_with(|| "pt".into());
    let metadata = Metadata::new(Some(notes), infos.collect()).map_err(|e| e.to_string())?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    // The data starts at a multiple of 8; spaces are allowed after the JSON.
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tensor<'a>(name: &'a str, shape: &'a [usize], data: &'a [f32]) -> NamedTensor<'a> {
        NamedTensor { name, shape, data }
    }

    fn sample(folder: &Path) -> (PathBuf, Vec<u8>) {
        let path = folder.join("sample.safetensors");
        let tensors = [tensor("b", &[2, 3], &[1., 2., 3., 4., 5., 6.]), tensor("a", &[2], &[-1., 0.5])];
        let notes = Notes::from([("step".into(), "7".into())]);
        write_safetensors(&path, &tensors, Dtype::F32, &notes).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = sample(folder.path());
        let (mut store, notes) = open_safetensors(&path).unwrap();
        assert_eq!(store.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(store.shape("b"), Some([2, 3].as_slice()));
        assert_eq!(store.read("a").unwrap(), [-1., 0.5]);
        assert_eq!(store.read("b").unwrap(), [1., 2., 3., 4., 5., 6.]);
        assert_eq!(notes["step"], "7");
        assert!(store.read("c").unwrap_err().to_string().contains("\"c\""));
        // The reference implementation agrees.
        let reference = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(reference.tensor("a").unwrap().data(), [-1f32, 0.5].map(f32::to_le_bytes).concat());
    }

    #[test]
    fn not_a_number_is_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut bytes) = sample(folder.path());
        let bad = [tensor("a", &[1], &[f32::INFINITY])];
        let error = write_safetensors(&path, &bad, Dtype::Bf16, &Notes::new()).unwrap_err();
        assert!(matches!(error, Error::Numeric(_)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the old file stays");

        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let (mut store, _) = open_safetensors(&path).unwrap();
        assert!(store.read("b").is_ok());
        let message = store.read("a").unwrap_err().to_string();
        assert!(message.contains("sample.safetensors") && message.contains("NaN"), "{message}");
    }

    #[test]
    fn absurd_headers_are_refused() {
        let file = |header: &str, data: usize| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.resize(bytes.len() + data, 0);
            bytes
        };
        let one = |shape: &str, from: u64, to: u64, data| {
            file(&format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#), data)
        };
        assert!(parse_safetensors_header(&one("[2]", 0, 8, 8)).is_ok());
        let bad = [
            Vec::new(),
            u64::MAX.to_le_bytes().to_vec(),
            file("{", 0),
            one("[2]", 0, 8, 7),
            one("[2]", 0, 8, 9),
            one("[3]", 0, 8, 8),
            one("[2]", 8, 0, 8),
            one("[4611686018427387904,4]", 0, 0, 0),
            one("[1]", 18446744073709551612, 18446744073709551615, 4),
            file(
                r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                6,
            ),
            file(r#"{"x":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8),
        ];
        for bytes in bad {
            assert!(parse_safetensors_header(&bytes).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    proptest! {
        #[test]
        fn mutations_never_panic(at in 0usize..400, byte: u8, cut in 0usize..400) {
            let folder = tempfile::tempdir().unwrap();
            let (path, mut bytes) = sample(folder.path());
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut % bytes.len() * usize::from(cut % 3 == 0));
            std::fs::write(&path, &bytes).unwrap();
            if let Ok((mut store, _)) = open_safetensors(&path) {
                let names: Vec<String> = store.names().map(str::to_owned).collect();
                for name in names {
                    let _ = store.read(&name);
                }
            }
        }
    }
}
