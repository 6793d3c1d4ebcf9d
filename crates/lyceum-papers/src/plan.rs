//! Which runs a study comes to, and what each depends on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lyceum_run::Recipe;
use sha2::{Digest, Sha256};

use crate::study::HERE;
use crate::{Arm, Result, Study, fill};

/// How a study is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Small and soon over: it checks the machinery.
    pub quick: bool,
    /// Seeds of every arm, where they are not the study's.
    pub seeds: Option<u64>,
}

/// A run that others start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepare {
    /// Its name.
    pub name: String,
    /// Its recipe file.
    pub recipe: PathBuf,
    /// Changes of the recipe.
    pub sets: Vec<String>,
    /// SHA-256 of all that it depends on.
    pub key: String,
    /// Its run folder.
    pub folder: PathBuf,
}

/// An arm with a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Its recipe file.
    pub recipe: PathBuf,
    /// Changes of the recipe, the seed included.
    pub sets: Vec<String>,
    /// SHA-256 of all that it depends on.
    pub key: String,
    /// Its run folder.
    pub folder: PathBuf,
}

/// All runs of a study.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The study.
    pub study: Study,
    /// How it is run.
    pub options: Options,
    /// What comes first, in order.
    pub prepares: Vec<Prepare>,
    /// Seed by seed all arms, so that a plan cut short has whole seeds.
    pub runs: Vec<Run>,
}

/// What the results of a study may come to in bytes, roughly; twice this lies in the folder.
const BUDGET: usize = 400_000;
/// Bytes of a point in JSON, roughly.
const POINT: usize = 24;

impl Plan {
    /// Plans the runs, whose folders will be in `work`. A folder's name has its key in it: what depends on something
    /// else now is another run in another folder.
    ///
    /// # Errors
    /// [`Error::Run`](crate::Error::Run) for a recipe that can't be read.
    pub fn new(study: Study, options: Options, work: &Path) -> Result<Self> {
        let work = std::path::absolute(work).unwrap_or_else(|_| work.to_path_buf());
        let here = study.folder.display().to_string();
        // By name: where a thing is, and the key that stands for it in the keys of others.
        let mut places = BTreeMap::from([(HERE.to_owned(), (here, HERE.to_owned()))]);
        let file = &study.file;
        let mut prepares = Vec::new();
        for item in &file.prepare {
            let quick = [&file.quick.prepare, &item.quick].into_iter().flatten().filter(|_| options.quick);
            let sets: Vec<String> = item.set.iter().chain(quick).cloned().collect();
            let recipe = study.folder.join(&item.recipe);
            let key = key(&recipe, &sets, &places)?;
            let folder = work.join(format!("{}-{}", item.name, &key[..12]));
            let sets = filled(&sets, &places, |place| &place.0);
            places.insert(item.name.clone(), (folder.display().to_string(), key.clone()));
            prepares.push(Prepare { name: item.name.clone(), recipe, sets, key, folder });
        }
        let mut runs = Vec::new();
        let seeds = |arm: &Arm| seeds_of(&study, &options, arm);
        for seed in 1..=file.arm.iter().map(seeds).max().unwrap_or(0) {
            for arm in file.arm.iter().filter(|arm| seed <= seeds(arm)) {
                let quick = [&file.quick.set, &arm.quick].into_iter().flatten().filter(|_| options.quick);
                let mut sets: Vec<String> = arm.set.iter().chain(quick).cloned().collect();
                sets.push(format!("seed={seed}"));
                let recipe = study.folder.join(&arm.recipe);
                let key = key(&recipe, &sets, &places)?;
                let folder = work.join(format!("{}-{seed}-{}", arm.name, &key[..12]));
                let sets = filled(&sets, &places, |place| &place.0);
                runs.push(Run { arm: arm.name.clone(), seed, recipe, sets, key, folder });
            }
        }
        Ok(Self { study, options, prepares, runs })
    }

    /// Every recipe with its changes, to be checked before anything runs: one of each arm, and the preparations.
    pub fn recipes(&self) -> impl Iterator<Item = (&Path, &[String])> {
        let prepares =
            self.prepares.iter().map(|prepare| (prepare.recipe.as_path(), prepare.sets.as_slice()));
        let first = self.runs.iter().filter(|run| run.seed == 1);
        prepares.chain(first.map(|run| (run.recipe.as_path(), run.sets.as_slice())))
    }

    /// Points of a curve that are kept of a run, so that all results together stay small.
    #[must_use]
    pub fn points_kept(&self) -> usize {
        let curves = (self.runs.len() * self.study.sources().len()).max(1);
        (BUDGET / POINT / curves).clamp(10, 200)
    }

    /// Seeds of an arm in this plan.
    #[must_use]
    pub fn seeds(&self, arm: &Arm) -> u64 {
        seeds_of(&self.study, &self.options, arm)
    }
}

fn seeds_of(study: &Study, options: &Options, arm: &Arm) -> u64 {
    let usual = if options.quick { study.file.quick.seeds } else { arm.seeds.unwrap_or(study.file.seeds) };
    options.seeds.unwrap_or(usual)
}

type Places = BTreeMap<String, (String, String)>;

/// Placeholders are checked when the study is read, so none is unknown here; it would stay as it is.
fn filled(sets: &[String], places: &Places, which: impl Fn(&(String, String)) -> &String) -> Vec<String> {
    let fill_one = |set: &String| fill(set, |name| places.get(name).map(&which).cloned());
    sets.iter().map(|set| fill_one(set).unwrap_or_else(|_| set.clone())).collect()
}

/// SHA-256 of the recipe with what it extends and what changes it. Comments and places on the disk do not count; a
/// prepared run counts by its own key.
fn key(recipe: &Path, sets: &[String], places: &Places) -> Result<String> {
    let sets = filled(sets, places, |place| &place.1);
    let resolved = Recipe::<toml::Table>::load(recipe, &sets)?.to_toml()?;
    let digest = Sha256::digest(resolved.as_bytes());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
