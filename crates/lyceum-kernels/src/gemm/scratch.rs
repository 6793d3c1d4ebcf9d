//! Buffers for packed operands, kept by each thread from call to call.

use std::cell::RefCell;

use crate::HugeVec;

/// What a buffer is for; those of different purposes are in use at the same time.
#[derive(Clone, Copy)]
pub(super) enum Scratch {
    Left,
    Right,
    Unpacked,
    States,
}

/// Cells of a huge page, for all but the tiny ones.
const SMALLEST: usize = (2 << 20) / size_of::<u32>();

thread_local! {
    static BUFFERS: [RefCell<HugeVec<u32>>; 4] = const { [const { RefCell::new(HugeVec::EMPTY) }; 4] };
}

/// Calls `f` with `len` cells of any contents.
pub(super) fn with<R>(purpose: Scratch, len: usize, f: impl FnOnce(&mut [u32]) -> R) -> R {
    BUFFERS.with(|buffers| {
        let mut buffer = buffers[purpose as usize].borrow_mut();
        if buffer.len() < len {
            *buffer = HugeVec::zeroed(len.max(SMALLEST));
        }
        f(&mut buffer[..len])
    })
}
