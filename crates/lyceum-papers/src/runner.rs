//! Running a plan: first what others start from, then arms and seeds, one process a core.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lyceum_run::{Interrupt, Layout, number, read_rows};

use crate::child::{Left, log_of};
use crate::{Ending, Error, Plan, Prepare, Program, Record, Result, Run, Runs};

/// How runs are worked off, and who is told.
pub struct Progress<'a> {
    /// Processes at once.
    pub jobs: usize,
    /// Threads of a preparation; all cores when `None`.
    pub threads: Option<usize>,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
    /// Tells a person a line.
    pub say: &'a (dyn Fn(&str) + Sync),
}

/// Runs what has no record in `results` yet, and writes one for each run that ends. True if all was run to an end, good
/// or bad; false if the user stopped it.
///
/// # Errors
/// [`Error::Preparation`]; [`Error::Io`], [`Error::Run`] where folders can't be written. A run that fails is no error but
/// a record that says so; it is tried again the next time.
pub fn run_plan(plan: &Plan, program: &Program, results: &Path, progress: &Progress<'_>) -> Result<bool> {
    let mut waiting = VecDeque::new();
    for run in &plan.runs {
        let path = Record::path(results, &run.arm, run.seed);
        let record = Record::read(&path);
        if record.is_none() && path.is_file() {
            (progress.say)(&format!("{} can't be understood: that run is done again", path.display()));
        }
        if !record.is_some_and(|record| record.key == run.key && record.answers(&plan.study)) {
            waiting.push_back(run);
        }
    }
    let total = waiting.len();
    let kept = plan.runs.len() - total;
    if kept > 0 {
        (progress.say)(&format!("{kept} of {} runs are on record already", plan.runs.len()));
    }
    if total == 0 {
        return Ok(true);
    }
    for prepare in &plan.prepares {
        if progress.interrupt.requested() || !ready(plan.study.file.runs, prepare, program, progress)? {
            return Ok(false);
        }
    }
    let queue = Mutex::new(waiting);
    let done = AtomicUsize::new(0);
    let begin = Instant::now();
    let worker = || -> Result<bool> {
        loop {
            let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
            let Some(run) = next else { return Ok(true) };
            if progress.interrupt.requested() {
                return Ok(false);
            }
            let Some(record) = finish(plan, run, program, progress.interrupt)? else { return Ok(false) };
            record.write(&Record::path(results, &run.arm, run.seed))?;
            let done = 1 + done.fetch_add(1, Ordering::SeqCst);
            let left = left(total - done, begin.elapsed().as_secs_f64() / done as f64);
            (progress.say)(&format!("[{done}/{total}] {}{left}", line(&record, run)));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..progress.jobs.clamp(1, total)).map(|_| scope.spawn(worker)).collect();
        let mut all = true;
        for worker in workers {
            // A worker that panicked has left its run without a record: as if it were stopped.
            all &= worker.join().unwrap_or(Ok(false))?;
        }
        Ok(all)
    })
}

/// Runs a preparation to its end, unless it is there; false if it was stopped.
fn ready(runs: Runs, prepare: &Prepare, program: &Program, progress: &Progress<'_>) -> Result<bool> {
    let mark = prepare.folder.with_extension("done");
    if mark.is_file() && prepare.folder.is_dir() {
        return Ok(true);
    }
    (progress.say)(&format!("preparing {}", prepare.name));
    match program.run(runs, &prepare.recipe, &prepare.sets, &prepare.folder, progress.threads)? {
        Left::Stopped => Ok(false),
        Left::Failed(_) if progress.interrupt.requested() => Ok(false),
        Left::Failed(cause) => {
            let name = prepare.name.clone();
            Err(Error::Preparation { name, cause, log: log_of(&prepare.folder) })
        }
        Left::Done { seconds, .. } => {
            lyceum_run::write_file(&mark, prepare.key.as_bytes())?;
            (progress.say)(&format!("prepared {}: {seconds:.0} s", prepare.name));
            Ok(true)
        }
    }
}

/// Runs an arm with a seed; `None` if it was stopped.
fn finish(plan: &Plan, run: &Run, program: &Program, interrupt: &Interrupt) -> Result<Option<Record>> {
    let record = |ending, curves| Record {
        arm: run.arm.clone(),
        seed: run.seed,
        key: run.key.clone(),
        ending,
        curves,
    };
    Ok(match program.run(plan.study.file.runs, &run.recipe, &run.sets, &run.folder, Some(1))? {
        Left::Stopped => None,
        Left::Failed(_) if interrupt.requested() => None,
        Left::Failed(cause) => Some(record(Ending::Failed(cause), Default::default())),
        Left::Done { rounds, seconds } => {
            let rows = read_rows(&Layout::new(&run.folder).metrics())?;
            let (metrics, curves) = Record::of_rows(&plan.study, &rows, plan.points_kept());
            Some(record(Ending::Finished { rounds, seconds, metrics }, curves))
        }
    })
}

/// A finished run in a line.
fn line(record: &Record, run: &Run) -> String {
    let name = format!("{} seed {}", record.arm, record.seed);
    match &record.ending {
        Ending::Failed(cause) => format!("{name}: FAILED: {cause} (log: {})", log_of(&run.folder).display()),
        Ending::Finished { seconds, metrics, .. } => {
            // Updates to reach are known once the arm to be reached is.
            let known = metrics.iter().filter(|(_, measured)| measured.climb.is_empty());
            let values = known.map(|(name, measured)| {
                format!("  {name} {}", measured.value.map_or_else(|| "–".into(), number))
            });
            format!("{name}: {seconds:.0} s{}", values.collect::<String>())
        }
    }
}

/// What remains, in runs and in time; `each` is seconds a run, all processes together.
fn left(runs: usize, each: f64) -> String {
    if runs == 0 {
        return String::new();
    }
    let seconds = runs as f64 * each;
    let time = match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    };
    format!("   {runs} left, about {time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_in_words() {
        assert_eq!(left(0, 9.0), "");
        assert_eq!(left(3, 12.0), "   3 left, about 36 s");
        assert_eq!(left(10, 60.0), "   10 left, about 10 min");
        assert_eq!(left(30, 600.0), "   30 left, about 5.0 h");
    }
}
