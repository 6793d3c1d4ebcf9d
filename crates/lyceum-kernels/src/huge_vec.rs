use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Zeroable;

/// Buffers start at a cache line, so that the widest vectors load without crossing one.
const LINE: usize = 64;
/// Size of a huge page, and the size from which a buffer asks for them.
const HUGE: usize = 2 << 20;

/// A fixed-length buffer, zero at first, aligned to cache lines and, from 2 MiB, on transparent huge pages: weights
/// and activations are streamed, and small pages would make the address translation miss.
///
/// Large buffers take memory from the system page by page as they are first written.
pub struct HugeVec<T> {
    start: NonNull<T>,
    len: usize,
    /// What the elements lie in; none for no elements.
    _memory: Option<Arc<Memory>>,
}

// SAFETY: the elements are owned, as a boxed slice's are.
unsafe impl<T: Send> Send for HugeVec<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HugeVec<T> {}

impl<T: Zeroable + Copy> HugeVec<T> {
    /// A buffer of no elements.
    pub const EMPTY: Self = Self { start: NonNull::dangling(), len: 0, _memory: None };

    /// A buffer of `len` zeros.
    ///
    /// # Panics
    /// If the size in bytes overflows. Aborts where memory is short, as `Vec` does.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self::side_by_side(&[len]).pop().unwrap_or_default()
    }

    /// Buffers of so many zeros side by side, so that together they lie on huge pages. Their memory is given back with
    /// the last of them.
    ///
    /// # Panics
    /// As [`HugeVec::zeroed`].
    #[must_use]
    pub fn side_by_side(lens: &[usize]) -> Vec<Self> {
        const { assert!(align_of::<T>() <= LINE) };
        let bytes = |len: usize| len.checked_mul(size_of::<T>())?.checked_next_multiple_of(LINE);
        let total = lens.iter().try_fold(0, |sum: usize, &len| sum.checked_add(bytes(len)?));
        let layout = total.and_then(|total| Layout::from_size_align(total, LINE).ok());
        assert!(layout.is_some(), "buffers of {lens:?} elements do not fit the address space");
        let memory = layout.filter(|layout| layout.size() > 0).map(|layout| Arc::new(Memory::take(layout)));
        let mut offset = 0;
        let buffer = |&len: &usize| match &memory {
            Some(memory) if len > 0 => {
                // SAFETY: inside of the memory, whose zero bytes are valid elements: `Zeroable`.
                let start = unsafe { memory.start.add(offset) }.cast();
                offset += (len * size_of::<T>()).next_multiple_of(LINE);
                Self { start, len, _memory: Some(Arc::clone(memory)) }
            }
            _ => Self { len, ..Self::EMPTY },
        };
        lens.iter().map(buffer).collect()
    }

    /// A copy of `values`.
    #[must_use]
    pub fn from_slice(values: &[T]) -> Self {
        let mut copy = Self::zeroed(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl<T> Deref for HugeVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for HugeVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Zeroable + Copy> Default for HugeVec<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T: Zeroable + Copy> Clone for HugeVec<T> {
    fn clone(&self) -> Self {
        Self::from_slice(self)
    }
}

impl<T: fmt::Debug> fmt::Debug for HugeVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

/// Zeroed memory from the allocator or, when large and on Linux, mapped at a huge page's boundary.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: only an address; the buffers on it share nothing.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn take(layout: Layout) -> Self {
        let start = if is_mapped(layout) {
            map(layout.size())
        } else {
            // SAFETY: callers ask for at least one byte.
            NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
        };
        Self { start: start.unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if is_mapped(self.layout) {
            // SAFETY: the mapping is this memory's alone, and the last buffer on it is gone.
            unsafe { unmap(self.start.as_ptr(), whole_pages(self.layout.size())) };
        } else {
            // SAFETY: allocated with this layout in `take`.
            unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

fn is_mapped(layout: Layout) -> bool {
    cfg!(target_os = "linux") && layout.size() >= HUGE
}

fn whole_pages(bytes: usize) -> usize {
    const PAGE: usize = 4096;
    bytes.next_multiple_of(PAGE)
}

#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let bytes = whole_pages(bytes);
    let mapped = bytes.checked_add(HUGE)?;
    // SAFETY: a new anonymous mapping touches nothing that exists; the parts cut off below are outside of the range
    // returned, and advice about it changes no contents.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let base = libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0);
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = base.cast::<u8>();
        let start = base.add(base.align_offset(HUGE));
        unmap(base, start.offset_from_unsigned(base));
        unmap(start.add(bytes), base.add(mapped).offset_from_unsigned(start.add(bytes)));
        // Without huge pages in this kernel the buffer works as well, on small ones.
        libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
        NonNull::new(start)
    }
}

#[cfg(not(target_os = "linux"))]
fn map(_: usize) -> Option<NonNull<u8>> {
    None
}

/// # Safety
/// `start..start + bytes` are whole mapped pages that nobody uses again.
#[cfg(target_os = "linux")]
unsafe fn unmap(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: by this function's contract.
        unsafe { libc::munmap(start.cast(), bytes) };
    }
}

#[cfg(not(target_os = "linux"))]
unsafe fn unmap(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_independent() {
        for len in [0, 1, 1000, HUGE / 4, HUGE + 12_345] {
            let mut one = HugeVec::<f32>::zeroed(len);
            assert_eq!(one.as_ptr().align_offset(if len == 0 { 1 } else { LINE }), 0);
            assert!(one.len() == len && one.iter().all(|&value| value == 0.0));
            one.fill(3.0);
            let two = one.clone();
            drop(one);
            assert!(two.iter().all(|&value| value == 3.0));
        }
    }

    #[test]
    fn buffers_side_by_side_outlive_each_other() {
        let mut buffers = HugeVec::<u16>::side_by_side(&[3, 0, HUGE, 40]);
        assert_eq!(buffers.iter().map(|buffer| buffer.len()).collect::<Vec<_>>(), [3, 0, HUGE, 40]);
        for (index, buffer) in buffers.iter_mut().enumerate() {
            assert!(buffer.iter().all(|&value| value == 0));
            buffer.fill(index as u16);
        }
        let last = buffers.pop().unwrap();
        let third = buffers.pop().unwrap();
        drop(buffers);
        assert!(third.iter().all(|&value| value == 2));
        drop(third);
        assert_eq!(last.as_ptr().align_offset(LINE), 0);
        assert!(last.iter().all(|&value| value == 3));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn large_buffers_start_at_huge_pages() {
        assert_eq!(HugeVec::<u8>::zeroed(HUGE).as_ptr().align_offset(HUGE), 0);
    }
}
