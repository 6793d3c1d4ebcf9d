use std::collections::BTreeMap;
use std::path::Path;

use lyceum_trace::{Boundary, Reader, Trace};

use crate::Result;

/// Why a trace was picked for showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pick {
    First,
    Latest,
    Best,
    Worst,
}

impl Pick {
    const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Latest => "latest",
            Self::Best => "best",
            Self::Worst => "worst",
        }
    }
}

/// What a component of the reward came to over a file of traces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub sum: f64,
    pub scored: usize,
    pub failed: usize,
}

/// A file of traces in short: samples worth a look, and counts.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    pub traces: usize,
    /// Lines that could not be read.
    pub unreadable: usize,
    pub samples: BTreeMap<Pick, Trace>,
    pub components: BTreeMap<String, Tally>,
    pub faults: BTreeMap<(Boundary, String), usize>,
    pub cut_off: usize,
}

impl Digest {
    /// Reads a file of traces, in memory for a few of them.
    pub fn of_file(path: &Path) -> Result<Self> {
        let mut digest = Self::default();
        for trace in Reader::open(path)?.tolerate_torn() {
            match trace {
                Ok(trace) => digest.add(trace),
                Err(lyceum_trace::Error::At { .. }) => digest.unreadable += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(digest)
    }

    /// The samples, each once with the names of all its picks: "best, latest".
    pub fn shown(&self) -> Vec<(String, &Trace)> {
        let mut shown = Vec::<(String, &Trace)>::new();
        for (pick, trace) in &self.samples {
            match shown.iter_mut().find(|(_, other)| other.id == trace.id) {
                Some((names, _)) => *names = format!("{names}, {}", pick.name()),
                None => shown.push((pick.name().to_owned(), trace)),
            }
        }
        shown
    }

    pub fn add(&mut self, trace: Trace) {
        self.traces += 1;
        for (name, score) in &trace.rewards {
            let tally = self.components.entry(name.clone()).or_default();
            match score.value() {
                Some(value) => (tally.sum, tally.scored) = (tally.sum + value, tally.scored + 1),
                None => tally.failed += 1,
            }
        }
        for fault in &trace.faults {
            *self.faults.entry((fault.boundary, fault.cause.clone())).or_default() += 1;
        }
        let cut_off = trace.is_cut();
        self.cut_off += usize::from(cut_off);
        // Of equals the later is taken: it shows what the model does by now.
        let total = |pick: Pick| self.samples.get(&pick).and_then(|trace| trace.total);
        let best = trace.total.is_some_and(|new| total(Pick::Best).is_none_or(|old| new >= old));
        let worst = trace.total.is_some_and(|new| total(Pick::Worst).is_none_or(|old| new <= old));
        if best {
            self.samples.insert(Pick::Best, trace.clone());
        }
        if worst {
            self.samples.insert(Pick::Worst, trace.clone());
        }
        if self.traces == 1 {
            self.samples.insert(Pick::First, trace.clone());
        }
        self.samples.insert(Pick::Latest, trace);
    }
}

#[cfg(test)]
mod tests {
    use lyceum_trace::{Problem, Score};

    use super::*;

    #[test]
    fn picks_and_counts() {
        let mut digest = Digest::default();
        for (id, total) in
            [("a", Some(0.5)), ("b", Some(1.0)), ("c", Some(0.0)), ("d", Some(1.0)), ("e", None)]
        {
            let mut trace = Trace::new(id, "toy", Problem::default());
            trace.total = total;
            let score = total.map_or_else(|| Score::Failed("deadline".into()), Score::of);
            trace.rewards.insert("verifier".into(), score);
            if total.is_none() {
                trace.fault(Boundary::Provider, "deadline");
            }
            digest.add(trace);
        }
        let picked = |digest: &Digest| -> Vec<String> {
            digest.shown().iter().map(|(names, trace)| format!("{names}: {}", trace.id)).collect()
        };
        assert_eq!(picked(&digest), ["first: a", "latest: e", "best: d", "worst: c"]);
        let mut one = Digest::default();
        one.add(Trace { total: Some(1.0), ..Trace::new("x", "toy", Problem::default()) });
        assert_eq!(picked(&one), ["first, latest, best, worst: x"]);
        assert_eq!(digest.components["verifier"], Tally { sum: 2.5, scored: 4, failed: 1 });
        assert_eq!(digest.faults[&(Boundary::Provider, "deadline".into())], 1);
    }
}
