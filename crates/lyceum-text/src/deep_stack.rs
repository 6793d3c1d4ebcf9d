//! A stack for foreign code to recurse on.

use std::{io, thread};

use crate::{Error, Result};

/// Reserved, not used: the system gives memory only to the pages that are touched.
const STACK_BYTES: usize = 128 << 20;

/// Runs `work` on a stack of its own, deep enough for what [`ChatTemplate`](crate::ChatTemplate) lets a template do:
/// minijinja parses some operators, and drops nested values, by recursion without a bound.
///
/// # Errors
/// [`Error::Template`] if the system has no room for another stack, or `work` panics.
pub(crate) fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let run = || {
        thread::scope(|scope| {
            let worker = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work)?;
            worker.join().map_err(|_| io::Error::other("the template engine panicked"))
        })
    };
    run().map_err(|error| Error::Template { line: None, problem: error.to_string() })
}
