//! `study.toml`: what is run, what is measured, what is claimed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lyceum_run::{Recipe, nearest};
use serde::{Deserialize, Serialize};

use crate::{Result, fill};

/// The file's name in a study's folder.
const FILE: &str = "study.toml";
/// The placeholder for the study's own folder.
pub(crate) const HERE: &str = "study";

/// A study read and checked.
#[derive(Clone, Debug)]
pub struct Study {
    /// Its short name: the folder's.
    pub name: String,
    /// Its folder, where its recipes are.
    pub folder: PathBuf,
    /// What its file says.
    pub file: StudyFile,
}

/// What `study.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// The paper's title, or what is studied.
    pub title: String,
    /// Seeds of an arm, from 1 on.
    #[serde(default = "five")]
    pub seeds: u64,
    /// What a run is: a training, or an experiment that trains no language model.
    #[serde(default)]
    pub runs: Runs,
    /// What `--quick` changes.
    #[serde(default)]
    pub quick: Quick,
    /// Runs that others start from, in their order.
    #[serde(default)]
    pub prepare: Vec<Preparation>,
    /// What is compared.
    pub arm: Vec<Arm>,
    /// Numbers read off a run.
    #[serde(default)]
    pub metric: Vec<Metric>,
    /// What is claimed of them.
    #[serde(default)]
    pub claim: Vec<Claim>,
    /// Curves to draw.
    #[serde(default)]
    pub figure: Vec<Figure>,
}

/// What the runs of a study are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// `lyceum train`.
    #[default]
    Train,
    /// `lyceum experiment`.
    Experiment,
}

impl Runs {
    /// The command that makes a run.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Experiment => "experiment",
        }
    }
}

/// What `--quick` changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quick {
    /// Seeds of an arm.
    pub seeds: u64,
    /// Settings of every arm.
    pub set: Vec<String>,
    /// Settings of every preparation.
    pub prepare: Vec<String>,
}

impl Default for Quick {
    fn default() -> Self {
        Self { seeds: 1, set: Vec::new(), prepare: Vec::new() }
    }
}

/// A run that others start from, done once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Its name: `{name}` in a later setting is its run folder.
    pub name: String,
    /// Its recipe, beside `study.toml`.
    pub recipe: String,
    /// Changes of the recipe, as after `--set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Further changes with `--quick`.
    #[serde(default)]
    pub quick: Vec<String>,
}

/// One side of a comparison: a recipe that is run with every seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name, as claims and figures say it.
    pub name: String,
    /// What it is, in words; the name when absent.
    #[serde(default)]
    pub title: Option<String>,
    /// Its recipe, beside `study.toml`.
    pub recipe: String,
    /// Changes of the recipe, as after `--set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Further changes with `--quick`.
    #[serde(default)]
    pub quick: Vec<String>,
    /// Seeds of this arm, where they are not the study's.
    #[serde(default)]
    pub seeds: Option<u64>,
}

impl Arm {
    /// What it is, in words.
    #[must_use]
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }
}

/// One number a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, as claims say it.
    pub name: String,
    /// Which evaluation or metric of a run's rows it is made of.
    pub of: String,
    /// How.
    #[serde(default)]
    pub take: Take,
    /// For `updates-to-reach`: the arm whose last value is to be reached.
    #[serde(default)]
    pub arm: Option<String>,
    /// For `updates-to-reach`: which share of that value is enough.
    #[serde(default = "most")]
    pub share: f64,
    /// Only rows up to this cost count, so that runs are compared at equal cost.
    #[serde(default)]
    pub within: Option<Within>,
}

/// A bound on what a run has cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// A metric that rises as a run goes on, such as `spent/tokens`.
    pub of: String,
    /// The most of it.
    pub most: f64,
}

/// How a run's rows become one number. Only rows that have a finite value count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Take {
    /// The last value.
    #[default]
    Last,
    /// The greatest value.
    Best,
    /// The mean of the last fifth of the rows.
    MeanLastFifth,
    /// The first step at which the run is at `share` of another arm's last value with the same seed. A run that never
    /// is counts with all its rounds, and is said to be censored.
    UpdatesToReach,
}

/// What is claimed, and by what rule it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// A short name.
    pub name: String,
    /// What the paper claims, in our words.
    pub paper: String,
    /// Whether it is an inference of ours and not the paper's.
    #[serde(default)]
    pub ours: bool,
    /// The metric it is about.
    pub metric: String,
    /// Two arms: the first minus the second, paired by seed. One arm: its mean.
    pub arms: Vec<String>,
    /// Where the 95 % interval must be.
    pub rule: Rule,
    /// Of what.
    pub threshold: f64,
}

/// Where an interval must be for a claim to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Above the threshold; wholly below it the claim does not hold.
    Above,
    /// Below the threshold; wholly above it the claim does not hold.
    Below,
    /// Between minus and plus the threshold; wholly outside the claim does not hold.
    Within,
}

/// Curves of several arms: the mean over seeds with a 95 % band.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The SVG file to write.
    pub file: String,
    /// Which evaluation or metric is drawn.
    pub of: String,
    /// What stands above it.
    pub title: String,
    /// Whose curves; all arms when absent.
    #[serde(default)]
    pub arms: Vec<String>,
}

const fn five() -> u64 {
    5
}

const fn most() -> f64 {
    0.95
}

impl Study {
    /// Whether a folder holds a study.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Reads and checks the study in a folder.
    ///
    /// # Errors
    /// [`Error::Run`](crate::Error::Run), which names file, line and key.
    pub fn read(folder: &Path) -> Result<Self> {
        let recipe = Recipe::<StudyFile>::load(&folder.join(FILE), &[])?;
        check(&recipe, folder)?;
        let place = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let name = place.file_name().map_or_else(|| HERE.into(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, folder: place, file: recipe.value })
    }

    /// An arm by name.
    #[must_use]
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.file.arm.iter().find(|arm| arm.name == name)
    }

    /// Every evaluation or metric that something is made of, once.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<&str> {
        let metrics = self.file.metric.iter().map(|metric| metric.of.as_str());
        metrics.chain(self.file.figure.iter().map(|figure| figure.of.as_str())).collect()
    }
}

/// What types can't check: that names are plain, single and known, that recipes are there.
fn check(recipe: &Recipe<StudyFile>, folder: &Path) -> Result<()> {
    let file = &recipe.value;
    let fault = |key: String, message: String| crate::Error::Run(recipe.error(&key, message));
    let positive = |key: String, seeds: u64| match seeds {
        0 => Err(fault(key, "at least one seed is needed".into())),
        _ => Ok(()),
    };
    positive("seeds".into(), file.seeds)?;
    positive("quick.seeds".into(), file.quick.seeds)?;
    if file.arm.is_empty() {
        return Err(fault("arm".into(), "a study has at least one [[arm]]".into()));
    }
    let preparations = file.prepare.iter().map(|item| ("prepare", &item.name));
    let arms = file.arm.iter().map(|item| ("arm", &item.name));
    let mut names = BTreeSet::from([HERE]);
    let mut place = (0, "");
    for (table, name) in preparations.chain(arms) {
        place = if place.1 == table { (place.0 + 1, table) } else { (0, table) };
        let key = format!("{table}[{}].name", place.0);
        plain(name).map_err(|message| fault(key.clone(), message))?;
        if !names.insert(name) {
            return Err(fault(
                key,
                format!("\"{name}\" is taken: names of preparations and arms are single"),
            ));
        }
    }
    let mut known = vec![HERE];
    let recipe_is_there = |key: String, name: &str| match folder.join(name).is_file() {
        true => Ok(()),
        false => Err(fault(key, format!("there is no {}", folder.join(name).display()))),
    };
    let settings = |key: &str, sets: &[String], known: &[&str]| {
        for (index, set) in sets.iter().enumerate() {
            let key = format!("{key}[{index}]");
            if !set.contains('=') {
                return Err(fault(key, format!("\"{set}\" is no KEY=VALUE")));
            }
            fill(set, |name| known.contains(&name).then(String::new)).map_err(|name| {
                let message = format!("nothing prepared before is called `{{{name}}}`");
                fault(key, message + &choice(&name, known))
            })?;
        }
        Ok(())
    };
    for (index, item) in file.prepare.iter().enumerate() {
        recipe_is_there(format!("prepare[{index}].recipe"), &item.recipe)?;
        settings(&format!("prepare[{index}].set"), &item.set, &known)?;
        settings(&format!("prepare[{index}].quick"), &item.quick, &known)?;
        known.push(&item.name);
    }
    settings("quick.prepare", &file.quick.prepare, &[HERE])?;
    settings("quick.set", &file.quick.set, &known)?;
    for (index, item) in file.arm.iter().enumerate() {
        recipe_is_there(format!("arm[{index}].recipe"), &item.recipe)?;
        settings(&format!("arm[{index}].set"), &item.set, &known)?;
        settings(&format!("arm[{index}].quick"), &item.quick, &known)?;
        positive(format!("arm[{index}].seeds"), item.seeds.unwrap_or(1))?;
    }
    let arms: Vec<&str> = file.arm.iter().map(|arm| arm.name.as_str()).collect();
    let is_arm = |key: String, name: &str| match arms.contains(&name) {
        true => Ok(()),
        false => Err(fault(key, format!("there is no arm \"{name}\"{}", choice(name, &arms)))),
    };
    let mut metrics = Vec::new();
    for (index, metric) in file.metric.iter().enumerate() {
        if metrics.contains(&metric.name.as_str()) {
            return Err(fault(format!("metric[{index}].name"), format!("\"{}\" is taken", metric.name)));
        }
        metrics.push(&metric.name);
        match (metric.take, &metric.arm) {
            (Take::UpdatesToReach, None) => {
                let message = "updates-to-reach needs `arm`: whose last value is to be reached?";
                return Err(fault(format!("metric[{index}]"), message.into()));
            }
            (Take::UpdatesToReach, Some(arm)) => is_arm(format!("metric[{index}].arm"), arm)?,
            (_, Some(_)) => {
                let message = "only `take = \"updates-to-reach\"` looks at another arm";
                return Err(fault(format!("metric[{index}].arm"), message.into()));
            }
            (_, None) => {}
        }
    }
    for (index, claim) in file.claim.iter().enumerate() {
        if !metrics.contains(&claim.metric.as_str()) {
            let message =
                format!("there is no metric \"{}\"{}", claim.metric, choice(&claim.metric, &metrics));
            return Err(fault(format!("claim[{index}].metric"), message));
        }
        if !(1..=2).contains(&claim.arms.len()) {
            let message = "one arm (its mean) or two (first minus second) belong here";
            return Err(fault(format!("claim[{index}].arms"), message.into()));
        }
        for (place, arm) in claim.arms.iter().enumerate() {
            is_arm(format!("claim[{index}].arms[{place}]"), arm)?;
        }
        if !claim.threshold.is_finite() || (claim.rule == Rule::Within && claim.threshold <= 0.0) {
            let message = "a finite number belongs here; for `within` one above 0";
            return Err(fault(format!("claim[{index}].threshold"), message.into()));
        }
    }
    for (index, figure) in file.figure.iter().enumerate() {
        let stem = figure.file.strip_suffix(".svg").unwrap_or_default();
        if plain(stem).is_err() {
            let message = "a plain file name that ends with .svg belongs here";
            return Err(fault(format!("figure[{index}].file"), message.into()));
        }
        for (place, arm) in figure.arms.iter().enumerate() {
            is_arm(format!("figure[{index}].arms[{place}]"), arm)?;
        }
    }
    Ok(())
}

/// Names become parts of file names.
fn plain(name: &str) -> std::result::Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!("\"{name}\" is no plain name: letters, digits, - and _"))
}

fn choice(written: &str, known: &[&str]) -> String {
    let near = nearest(written, known.iter().copied());
    let near = near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    format!("{near} (there are: {})", known.join(", "))
}

#[cfg(test)]
pub(crate) mod tests;
