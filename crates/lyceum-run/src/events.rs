use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// Writes scalars to a TensorBoard event file: TFRecord frames (length, checksum, data, checksum) around `Event`
/// messages, of whose protobuf fields a handful suffices.
#[derive(Debug)]
pub(crate) struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Opens a file for appending; a new one gets its version record.
    pub fn append(path: &Path) -> Result<Self> {
        let file =
            OpenOptions::new().append(true).create(true).open(path).map_err(Error::io("write to", path))?;
        let new = file.metadata().map_err(Error::io("read", path))?.len() == 0;
        let mut writer = Self { file, path: path.to_path_buf() };
        if new {
            writer.write(&frame(&version_event(now())))?;
        }
        Ok(writer)
    }

    /// Writes one event with the scalars of a step.
    pub fn scalars(&mut self, step: u64, scalars: impl Iterator<Item = (String, f64)>) -> Result<()> {
        self.write(&frame(&scalar_event(now(), step, scalars)))
    }

    /// One write a frame, so that a killed process leaves whole frames.
    fn write(&mut self, frame: &[u8]) -> Result<()> {
        self.file.write_all(frame).map_err(Error::io("write to", &self.path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A TFRecord: u64 length, masked CRC-32C of it, data, masked CRC-32C of that; all little-endian.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut frame = Vec::with_capacity(data.len() + 16);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
    frame.extend_from_slice(data);
    frame.extend_from_slice(&masked(crc32c(data)).to_le_bytes());
    frame
}

/// TFRecord stores checksums rotated and shifted, as a checksum of data that holds checksums is weak.
const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, a byte at a time.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// `Event { wall_time = 1: double, file_version = 3: string }`
fn version_event(time: f64) -> Vec<u8> {
    let mut event = double(1, time);
    event.extend(bytes(3, b"brain.Event:2"));
    event
}

/// `Event { wall_time = 1: double, step = 2: int64, summary = 5: Summary { value = 1: repeated Value } }` with
/// `Value { tag = 1: string, simple_value = 2: float }`
fn scalar_event(time: f64, step: u64, scalars: impl Iterator<Item = (String, f64)>) -> Vec<u8> {
    let summary: Vec<u8> = scalars
        .flat_map(|(tag, value)| {
            let mut message = bytes(1, tag.as_bytes());
            message.extend(float(2, value as f32));
            bytes(1, &message)
        })
        .collect();
    let mut event = double(1, time);
    event.extend(integer(2, step));
    event.extend(bytes(5, &summary));
    event
}

/// Protobuf wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
const fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[key(field, 1)][..], &value.to_le_bytes()].concat()
}

fn float(field: u8, value: f32) -> Vec<u8> {
    [&[key(field, 5)][..], &value.to_le_bytes()].concat()
}

fn integer(field: u8, value: u64) -> Vec<u8> {
    [vec![key(field, 0)], varint(value)].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [vec![key(field, 2)], varint(value.len() as u64), value.to_vec()].concat()
}

/// Seven bits a byte, least first; the high bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn checksums_of_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn varints() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }

    fn shown(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Golden bytes: made by tensorboard's own classes, `golden/events.py`.
    #[test]
    fn frames_are_those_of_tensorboard() {
        assert_eq!(
            shown(&frame(&version_event(1.5))),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
        let scalars = [("loss".to_owned(), 0.5), ("reward/verifier".to_owned(), -1.25)];
        assert_eq!(
            shown(&frame(&scalar_event(2.5, 300, scalars.into_iter()))),
            "33000000000000000ca7205609000000000000044010ac022a250a0b0a046c6f7373150000003f0a160a0f7265776172642f7665726966696572150000a0bfd3fdea02"
        );
    }
}
