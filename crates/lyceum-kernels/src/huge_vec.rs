use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

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
}

// SAFETY: the elements are owned, as a boxed slice's are.
unsafe impl<T: Send> Send for HugeVec<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HugeVec<T> {}

impl<T: Zeroable + Copy> HugeVec<T> {
    /// A buffer of no elements.
    pub const EMPTY: Self = Self { start: NonNull::dangling(), len: 0 };

    /// A buffer of `len` zeros.
    ///
    /// # Panics
    /// If the size in bytes overflows. Aborts where memory is short, as `Vec` does.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let layout = len
            .checked_mul(size_of::<T>())
            .and_then(|bytes| Layout::from_size_align(bytes, LINE.max(align_of::<T>())).ok());
        assert!(layout.is_some(), "{len} elements of {} bytes do not fit the address space", size_of::<T>());
        match layout {
            Some(layout) if layout.size() > 0 => {
                let start = memory::take(layout).unwrap_or_else(|| handle_alloc_error(layout));
                // Zero bytes are a valid `T`: `Zeroable`.
                Self { start: start.cast(), len }
            }
            _ => Self { len, ..Self::EMPTY },
        }
    }

    /// A copy of `values`.
    #[must_use]
    pub fn from_slice(values: &[T]) -> Self {
        let mut copy = Self::zeroed(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl<T> Drop for HugeVec<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        if bytes > 0 {
            // SAFETY: taken with this layout in `zeroed` and not given back before. Elements are `Copy`: no drop glue.
            unsafe {
                let layout = Layout::from_size_align_unchecked(bytes, LINE.max(align_of::<T>()));
                memory::give_back(self.start.cast(), layout);
            }
        }
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
mod memory {
    use super::{HUGE, Layout, NonNull};

    pub(super) fn take(layout: Layout) -> Option<NonNull<u8>> {
        if cfg!(target_os = "linux") && layout.size() >= HUGE {
            map(layout.size())
        } else {
            // SAFETY: callers ask for at least one byte.
            NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
        }
    }

    /// # Safety
    /// `start` came from [`take`] with the same layout and is not used again.
    pub(super) unsafe fn give_back(start: NonNull<u8>, layout: Layout) {
        if cfg!(target_os = "linux") && layout.size() >= HUGE {
            // SAFETY: the mapping is this buffer's alone.
            unsafe { unmap(start.as_ptr(), whole_pages(layout.size())) };
        } else {
            // SAFETY: by this function's contract.
            unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
        }
    }

    fn whole_pages(bytes: usize) -> usize {
        const PAGE: usize = 4096;
        bytes.next_multiple_of(PAGE)
    }

    #[cfg(target_os = "linux")]
    fn map(bytes: usize) -> Option<NonNull<u8>> {
        let bytes = whole_pages(bytes);
        let mapped = bytes.checked_add(HUGE)?;
        // SAFETY: a new anonymous mapping touches nothing that exists; the parts cut off below are outside of the
        // range returned, and advice about it changes no contents.
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
}

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
    #[cfg(target_os = "linux")]
    fn large_buffers_start_at_huge_pages() {
        assert_eq!(HugeVec::<u8>::zeroed(HUGE).as_ptr().align_offset(HUGE), 0);
    }
}
