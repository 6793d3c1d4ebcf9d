use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use crate::Level;

/// How long an idle worker spins before it sleeps, in pauses: some 100 us, longer than the serial
/// stretches between the parallel regions of one decoding step, shorter than anyone notices.
const SPINS: usize = 4096;

/// A fixed set of threads and the instruction-set level they run at.
///
/// Work is divided statically, so that what a worker computes depends on the number of threads only.
/// A region on a hot pool costs about a microsecond; a pool of one thread costs a function call.
#[derive(Debug)]
pub struct Pool {
    level: Level,
    threads: usize,
    crew: Option<Crew>,
}

impl Pool {
    /// A pool of `threads` threads (the caller is one of them; 0 counts as 1) at the best level of this machine.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self::with_level(threads, Level::detect())
    }

    /// A pool forced to `level`, or to the best level of this machine where that is lower.
    #[must_use]
    pub fn with_level(threads: usize, level: Level) -> Self {
        let threads = threads.max(1);
        let crew = (threads > 1).then(|| Crew::spawn(threads));
        // Kernels trust the level of a pool when they call code for it.
        Self { level: level.min(Level::detect()), threads, crew }
    }

    /// Number of threads, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Instruction-set level of every kernel run on this pool; never above [`Level::detect`].
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Calls `f(worker)` once for every worker `0..threads` and waits for all; the caller is worker 0.
    ///
    /// Inside a region (of any pool) the calls are made one after the other on the current thread.
    ///
    /// # Panics
    /// A panic in `f` is passed on to the caller, after all workers have finished.
    pub fn run(&self, f: impl Fn(usize) + Sync) {
        match &self.crew {
            Some(crew) if !IN_REGION.get() => crew.run(&f),
            _ => (0..self.threads).for_each(f),
        }
    }

    /// Divides `rows`, a matrix of rows of `width` elements, in one contiguous range of rows a worker and calls
    /// `f(first_row, range)` for those that are not empty.
    ///
    /// # Panics
    /// If `rows` is not a whole number of rows.
    pub fn split<T: Send>(&self, rows: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        if rows.is_empty() {
            return;
        }
        assert!(
            width > 0 && rows.len().is_multiple_of(width),
            "{} elements are not rows of {width}",
            rows.len()
        );
        let count = rows.len() / width;
        let rows = Disjoint::new(rows);
        self.run(|worker| {
            let range = share(count, self.threads, worker);
            if !range.is_empty() {
                // SAFETY: the shares of different workers do not overlap.
                f(range.start, unsafe { rows.slice(range.start * width..range.end * width) });
            }
        });
    }
}

/// The part of `0..total` that falls to `index` of `parts`: contiguous, in order, sizes differing by at most one.
pub(crate) fn share(total: usize, parts: usize, index: usize) -> Range<usize> {
    let (size, extra) = (total / parts, total % parts);
    let start = index * size + index.min(extra);
    start..start + size + usize::from(index < extra)
}

/// A mutable slice to different parts of which several workers write.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose callers vouch for disjoint parts.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// Where the slice begins.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// No other part that overlaps `range` is alive.
    #[expect(clippy::mut_from_ref, reason = "callers vouch for disjoint parts")]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} is outside of 0..{}", self.len);
        // SAFETY: within the borrowed slice, and disjoint by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

thread_local! {
    /// Whether this thread is inside a parallel region.
    static IN_REGION: Cell<bool> = const { Cell::new(false) };
}

type Job = *const (dyn Fn(usize) + Sync);

/// What caller and workers share.
struct Board {
    /// Counts the regions; a change is the signal to start.
    epoch: Line<AtomicUsize>,
    /// Workers that have not finished the current region.
    pending: Line<AtomicUsize>,
    /// Written before `epoch` changes, read after; valid until `pending` is 0.
    job: UnsafeCell<Option<Job>>,
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written by the caller only while no worker is in a region and read by workers only inside one;
// `epoch` and `pending` order the two.
unsafe impl Sync for Board {}
// SAFETY: the job pointer is to a closure that is `Sync`.
unsafe impl Send for Board {}

/// Keeps a counter on a cache line of its own.
#[repr(align(128))]
struct Line<T>(T);

struct Crew {
    board: Arc<Board>,
    workers: Vec<JoinHandle<()>>,
    threads: Vec<Thread>,
    /// Held during a region: two threads that share a pool take turns.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Crew {
    fn spawn(threads: usize) -> Self {
        let board = Arc::new(Board {
            epoch: Line(AtomicUsize::new(0)),
            pending: Line(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        // Spinning only takes time from the others where there are more threads than cores.
        let spins =
            if thread::available_parallelism().is_ok_and(|cores| cores.get() < threads) { 1 } else { SPINS };
        let workers: Vec<_> = (1..threads)
            .map(|worker| {
                let board = Arc::clone(&board);
                thread::spawn(move || board.work(worker, spins))
            })
            .collect();
        let threads = workers.iter().map(|worker| worker.thread().clone()).collect();
        Self { board, workers, threads, turn: Mutex::new(()) }
    }

    fn signal(&self) {
        // Sequentially consistent against `Board::wait`: either the worker sees the new epoch before it sleeps
        // or it is seen asleep here.
        self.board.epoch.0.fetch_add(1, Ordering::SeqCst);
        for (asleep, thread) in self.board.asleep.iter().zip(&self.threads) {
            if asleep.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
    }

    fn run(&self, f: &(dyn Fn(usize) + Sync)) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime is erased; this function returns after the last use, in `pending`'s reaching 0.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(f) };
        // SAFETY: no worker reads the job outside of a region, and `turn` keeps other callers out.
        unsafe { *self.board.job.get() = Some(job) };
        self.board.pending.0.store(self.workers.len(), Ordering::Relaxed);
        self.signal();

        IN_REGION.set(true);
        let own = catch_unwind(AssertUnwindSafe(|| f(0)));
        IN_REGION.set(false);

        let mut spins = 0;
        while self.board.pending.0.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
        }
        drop(turn);
        let theirs = self.board.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.board.stop.store(true, Ordering::SeqCst);
        self.signal();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its jobs; there is nothing to report.
            let _ = worker.join();
        }
    }
}

impl Board {
    fn work(&self, worker: usize, spins: usize) {
        IN_REGION.set(true);
        let mut seen = 0;
        loop {
            seen = self.wait(worker, seen, spins);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the epoch has changed, so the job is written and stays until this worker decrements `pending`.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(worker)))
            {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.pending.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an epoch other than `seen` and returns it.
    fn wait(&self, worker: usize, seen: usize, spins: usize) -> usize {
        for _ in 0..spins {
            let epoch = self.epoch.0.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        let asleep = &self.asleep[worker - 1];
        asleep.store(true, Ordering::SeqCst);
        loop {
            let epoch = self.epoch.0.load(Ordering::SeqCst);
            if epoch != seen {
                asleep.store(false, Ordering::SeqCst);
                return epoch;
            }
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for (total, parts) in [(0, 3), (1, 3), (7, 3), (9, 3), (10, 4)] {
            let all: Vec<usize> = (0..parts).flat_map(|index| share(total, parts, index)).collect();
            assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_worker_runs_once_in_each_of_many_regions() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            let calls: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for region in 1..=300 {
                pool.run(|worker| {
                    calls[worker].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().all(|count| count.load(Ordering::Relaxed) == region));
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = Pool::new(3);
        let calls = AtomicUsize::new(0);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            pool.run(|_| {
                calls.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(calls.into_inner(), 9);
    }

    #[test]
    fn split_hands_out_whole_rows() {
        let pool = Pool::new(3);
        let mut rows = vec![0; 7 * 5];
        pool.split(&mut rows, 5, |first, part| {
            for (row, values) in part.chunks_mut(5).enumerate() {
                values.fill(first + row);
            }
        });
        assert_eq!(rows, (0..7).flat_map(|row| [row; 5]).collect::<Vec<_>>());
        pool.split(&mut [] as &mut [f32], 0, |_, _| unreachable!());
    }

    #[test]
    fn nested_regions_and_two_callers_do_not_deadlock() {
        let pool = Pool::new(2);
        let calls = AtomicUsize::new(0);
        let count = || {
            for _ in 0..100 {
                pool.run(|_| {
                    pool.run(|_| {
                        calls.fetch_add(1, Ordering::Relaxed);
                    });
                });
            }
        };
        thread::scope(|scope| {
            scope.spawn(count);
            scope.spawn(count);
        });
        assert_eq!(calls.into_inner(), 2 * 100 * 4);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = Pool::new(2);
        for culprit in [0, 1] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(|worker| assert!(worker != culprit, "worker {worker} gave up"));
            }));
            let message = *outcome.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("worker {culprit} gave up"));
        }
        let calls = AtomicUsize::new(0);
        pool.run(|_| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.into_inner(), 2);
    }

    #[test]
    fn a_level_beyond_the_machine_is_lowered() {
        assert!(Pool::with_level(1, Level::Avx512Bf16).level() <= Level::detect());
        assert_eq!(Pool::with_level(1, Level::Portable).level(), Level::Portable);
    }
}
