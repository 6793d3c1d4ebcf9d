//! Puts the recipe's rewards on traces.

use std::collections::BTreeMap;
use std::time::Duration;

use lyceum_trace::{Content, Score, Source, Trace};

use lyceum_engine::Model;

use super::command::{CommandReward, Question};
use super::component::{Failure, FailureKind};
use super::judge::{Endpoint, JUDGE, ask_model};
use super::process::ProcessReward;
use super::spec::RewardSpec;
use crate::task::keyed::share_of;

/// The components of one trace that a command gave.
pub type Answers = BTreeMap<String, Score>;

/// The rewards of a recipe, with the user's process if there is one.
pub struct Rewards {
    spec: RewardSpec,
    command: Option<CommandReward>,
    process: Option<ProcessReward>,
    endpoint: Option<Endpoint>,
    judge: Option<Model>,
}

impl Rewards {
    /// Rewards by a checked specification ([`RewardSpec::check`]). A command is started when it is first asked.
    #[must_use]
    pub fn open(spec: &RewardSpec) -> Self {
        let seconds = |given: Option<f64>, usual: f64| {
            Duration::try_from_secs_f64(given.unwrap_or(usual)).unwrap_or(Duration::from_secs(60))
        };
        let command = spec.command.as_ref().map(|command| {
            CommandReward::new(command.clone(), seconds(spec.deadline, 10.0), seconds(spec.startup, 60.0))
        });
        let judge = spec.judge.as_ref().and_then(|judge| Some((judge, judge.endpoint.as_ref()?)));
        let endpoint = judge.map(|(judge, address)| Endpoint::new(judge, address));
        Self { spec: spec.clone(), command, process: None, endpoint, judge: None }
    }

    /// With a judge of steps.
    #[must_use]
    pub fn with_process(self, process: Option<ProcessReward>) -> Self {
        Self { process, ..self }
    }

    /// With a reward model that judges whole answers.
    #[must_use]
    pub fn with_judge(self, judge: Option<Model>) -> Self {
        Self { judge, ..self }
    }

    /// The weights of the reward model, if there is one.
    #[must_use]
    pub fn judge_fingerprint(&self) -> Option<&str> {
        self.judge.as_ref().map(|model| model.identity.fingerprint.as_str())
    }

    /// Has the reward model judge the answers, if there is one.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine) for a model that can't judge.
    pub fn judge(&self, groups: &mut [Vec<Trace>]) -> crate::Result<()> {
        self.judge.as_ref().map_or(Ok(()), |model| ask_model(model, groups))
    }

    /// The judge of steps, if the recipe has one.
    #[must_use]
    pub const fn process(&self) -> Option<&ProcessReward> {
        self.process.as_ref()
    }

    /// Whether something outside this process is asked, whose answers a resumed run must not ask for again.
    #[must_use]
    pub fn asks_outside(&self) -> bool {
        self.command.is_some() || self.endpoint.is_some()
    }

    /// What command and endpoint say of each trace; nothing if there is neither. To be journalled, then
    /// [`apply`](Self::apply)-ed.
    pub fn ask(&mut self, groups: &[Vec<Trace>]) -> Vec<Answers> {
        let mut answers = self.ask_command(groups);
        if let Some(endpoint) = &self.endpoint {
            let questions: Vec<Question> = groups.iter().flatten().map(question).collect();
            for (answer, score) in answers.iter_mut().zip(endpoint.ask_all(&questions)) {
                answer.insert(JUDGE.to_owned(), score);
            }
        }
        answers
    }

    fn ask_command(&mut self, groups: &[Vec<Trace>]) -> Vec<Answers> {
        let traces = groups.iter().flatten();
        let Some(command) = &mut self.command else { return vec![Answers::new(); traces.count()] };
        let questions: Vec<Question> = traces.map(question).collect();
        let answers = command.ask(&questions);
        let weighted = self.spec.effective_weights();
        let named = |answer: Result<BTreeMap<String, f64>, Failure>| match answer {
            Ok(components) => components.into_iter().map(|(name, value)| (name, Score::of(value))).collect(),
            // The failure stands where the score would: on the components that only the command could give.
            Err(failure) => {
                weighted.keys().map(|name| (name.clone(), Score::Failed(failure.message.clone()))).collect()
            }
        };
        answers.into_iter().map(named).collect()
    }

    /// Adds answers, components of the recipe's and the total to each trace. `answers` are one a trace, group by group.
    pub fn apply(&self, groups: &mut [Vec<Trace>], answers: &[Answers]) {
        for (at, trace) in groups.iter_mut().flatten().enumerate() {
            for (name, score) in answers.get(at).into_iter().flatten() {
                // What the verifier said itself is not overwritten by the failure of the command.
                if trace
                    .rewards
                    .get(name)
                    .is_none_or(|known| known.value().is_none() || score.value().is_some())
                {
                    trace.rewards.insert(name.clone(), score.clone());
                }
            }
            if let Some(length) = &self.spec.length {
                trace
                    .rewards
                    .insert("length".to_owned(), Score::of(length.score(trace.cost.generated_tokens)));
            }
        }
        if let Some(pairwise) = &self.spec.pairwise {
            groups.iter_mut().for_each(|group| pairwise.score(group));
        }
        for trace in groups.iter_mut().flatten() {
            let known = self.spec.known.is_none_or(|share| share_of(&trace.problem.id) < share);
            trace.total =
                if known { self.spec.combine(|name| component(trace, name)).ok() } else { Some(0.0) };
        }
    }

    /// Asks and applies.
    pub fn score(&mut self, groups: &mut [Vec<Trace>]) {
        let answers = self.ask(groups);
        self.apply(groups, &answers);
    }
}

fn component(trace: &Trace, name: &str) -> Result<f64, Failure> {
    match trace.rewards.get(name) {
        Some(Score::Value(value)) => Ok(*value),
        Some(Score::Failed(cause)) => Err(Failure::new(FailureKind::Missing, cause.clone())),
        None => Err(Failure::new(FailureKind::Missing, format!("nobody scored the component {name}"))),
    }
}

/// What a trace asks a command: the prompt and what the model wrote, tool results left out.
fn question(trace: &Trace) -> Question {
    let text = |source: Source| -> String {
        let parts = trace.calls.iter().flat_map(|call| &call.parts).filter(|part| part.source == source);
        parts
            .filter_map(|part| match &part.content {
                Content::Text { text } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    };
    Question {
        id: trace.id.clone(),
        prompt: text(Source::Prompt),
        completion: text(Source::Sampled),
        answer: trace.problem.answer.clone(),
    }
}
