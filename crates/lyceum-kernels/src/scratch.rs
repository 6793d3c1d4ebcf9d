use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::HugeVec;

/// Free buffers a thread keeps; more than one kernel ever holds.
const KEPT: usize = 12;

thread_local! {
    static FREE: RefCell<Vec<HugeVec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Working memory of a kernel, which its thread keeps for the next call: fresh pages cost as much as a good part of the
/// work done in them.
pub(crate) struct Scratch {
    buffer: HugeVec<f32>,
    len: usize,
}

impl Scratch {
    /// `len` numbers of any value.
    pub(crate) fn take(len: usize) -> Self {
        let buffer = FREE.with_borrow_mut(|free| {
            let fitting = (0..free.len()).filter(|&index| free[index].len() >= len);
            fitting.min_by_key(|&index| free[index].len()).map(|index| free.swap_remove(index))
        });
        Self { buffer: buffer.unwrap_or_else(|| HugeVec::zeroed(len)), len }
    }

    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut scratch = Self::take(len);
        scratch.fill(0.0);
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // At the end of a thread there is nothing left to keep it in.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            free.push(buffer);
            if free.len() > KEPT {
                let smallest = (0..free.len()).min_by_key(|&index| free[index].len());
                smallest.map(|index| free.swap_remove(index));
            }
        });
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_to_the_next_that_it_fits() {
        let first = Scratch::take(1000);
        let place = first.as_ptr();
        let second = Scratch::take(1000);
        assert_ne!(second.as_ptr(), place);
        drop(first);
        let mut third = Scratch::take(900);
        assert_eq!((third.as_ptr(), third.len()), (place, 900));
        third.fill(5.0);
        drop(third);
        assert!(Scratch::zeroed(1000).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn a_thread_keeps_a_bounded_number() {
        let many: Vec<Scratch> = (1..40).map(Scratch::take).collect();
        drop(many);
        assert_eq!(FREE.with_borrow(Vec::len), KEPT);
    }
}
