//! Tensors of one or several files by name, decoded to f32 when they are read.

use super::encoding::Encoding;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where a tensor lies and how. Formats make these only after checking that the bytes are inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTensor {
    /// First byte in the file.
    pub start: u64,
    pub encoding: Encoding,
    /// Row-major: the last dimension is contiguous.
    pub shape: Vec<usize>,
    /// Number of heads whose rows are stored as rope pairs (GGUF's order for Llama); see [`unpair_rows`].
    pub paired_heads: Option<usize>,
}

impl StoredTensor {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Tensors by name. Reading seeks, hence `&mut`.
#[derive(Debug, Default)]
pub struct TensorStore {
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, (usize, StoredTensor)>,
}

impl TensorStore {
    /// Adds a file and the tensors in it. The first file that has a name keeps it: formats refuse duplicates.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        file: File,
        tensors: impl IntoIterator<Item = (String, StoredTensor)>,
    ) {
        let number = self.files.len();
        self.files.push((path.to_owned(), file));
        for (name, tensor) in tensors {
            self.tensors.entry(name).or_insert((number, tensor));
        }
    }

    /// Names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The row-major shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(_, tensor)| tensor.shape.as_slice())
    }

    /// The encoding of a tensor.
    pub fn encoding(&self, name: &str) -> Option<Encoding> {
        self.tensors.get(name).map(|(_, tensor)| tensor.encoding)
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let elements = self.tensors.get(name).map_or(0, |(_, tensor)| tensor.elements());
        let mut out = vec![0.0; elements];
        self.read_into(name, &mut out)?;
        Ok(out)
    }

    /// Reads a tensor to `out`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor, its size is another, or a number in it is not finite;
    /// [`Error::Io`].
    pub fn read_into(&mut self, name: &str, out: &mut [f32]) -> Result<()> {
        let Some((number, tensor)) = self.tensors.get(name) else {
            return Err(self.refuse(0, format!("has no tensor {name:?}")));
        };
        let number = *number;
        let Some(bytes) = tensor.encoding.byte_len(out.len()).filter(|_| tensor.elements() == out.len())
        else {
            let problem =
                format!("tensor {name:?} has shape {:?}; {} elements were wanted", tensor.shape, out.len());
            return Err(self.refuse(number, problem));
        };
        let (path, file) = &mut self.files[number];
        let mut buffer = vec![0; bytes];
        read_at(file, tensor.start, &mut buffer).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        tensor.encoding.decode(&buffer, out);
        if let Some(heads) = tensor.paired_heads {
            unpair_rows(out, heads, out.len() / tensor.shape[0]);
        }
        if let Some(at) = out.iter().position(|x| !x.is_finite()) {
            let problem = format!(
                "tensor {name:?} holds {} at element {at}; the file is damaged or its training diverged: use another",
                out[at]
            );
            return Err(self.refuse(number, problem));
        }
        Ok(())
    }

    fn refuse(&self, file: usize, problem: String) -> Error {
        let path = self.files.get(file).map_or_else(|| PathBuf::from("(no file)"), |(path, _)| path.clone());
        Error::Checkpoint { path, problem }
    }
}

fn read_at(file: &mut File, start: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(buffer)
}

/// Brings the rows of each head from GGUF's order for the Llama architecture (`x0 y0 x1 y1 ..`, rope's pairs side by
/// side) to Hugging Face's (`x0 x1 .. y0 y1 ..`). Undoes `LlamaModel.permute` of llama.cpp's `convert_hf_to_gguf.py`.
/// `data` has `heads` heads of an even number of rows of `width`.
pub(crate) fn unpair_rows(data: &mut [f32], heads: usize, width: usize) {
    let head_len = data.len() / heads;
    let mut paired = vec![0.0; head_len];
    for head in data.chunks_exact_mut(head_len) {
        paired.copy_from_slice(head);
        let (first, second) = head.split_at_mut(head_len / 2);
        let halves = first.chunks_exact_mut(width).zip(second.chunks_exact_mut(width));
        for (pair, (x, y)) in paired.chunks_exact(2 * width).zip(halves) {
            x.copy_from_slice(&pair[..width]);
            y.copy_from_slice(&pair[width..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_halves_within_each_head() {
        // Two heads of four rows, two columns; the number is head, half, index, column.
        let mut data = vec![
            0., 1., 100., 101., 10., 11., 110., 111., //
            1000., 1001., 1100., 1101., 1010., 1011., 1110., 1111.,
        ];
        unpair_rows(&mut data, 2, 2);
        let sorted = vec![
            0., 1., 10., 11., 100., 101., 110., 111., //
            1000., 1001., 1010., 1011., 1100., 1101., 1110., 1111.,
        ];
        assert_eq!(data, sorted);
    }
}
