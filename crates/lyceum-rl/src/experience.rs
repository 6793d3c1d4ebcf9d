//! From traces to batches: what of a rollout is trained on, and how groups are packed so that a group's common prompt
//! is computed once.

use lyceum_nn::policy::{Batch, Input, Segment, Target};
use lyceum_trace::{Source, TokenRecord};

use crate::{Error, Result};

/// One sample as the trainer sees it: exact token ids and which of them are trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    /// All tokens: prompt, sampled, tool.
    pub ids: Vec<u32>,
    /// Positions in `ids` of the trained tokens, rising; never 0, as nothing predicts the first token.
    pub trained: Vec<u32>,
    /// Log-probability of each trained token when it was sampled.
    pub behaviour: Vec<f32>,
}

impl Sequence {
    /// The sampled tokens of a record with a positive loss weight. Prompt, tool and forced tokens are context only.
    #[must_use]
    pub fn of_record(record: &TokenRecord) -> Self {
        let mut sequence = Self { ids: record.ids.clone(), ..Self::default() };
        let tokens = record.source.iter().zip(record.weight.iter()).zip(record.logp_by_token());
        for (position, ((source, weight), logp)) in tokens.enumerate() {
            if let (Source::Sampled, true, true, Some(logp)) = (source, weight > 0.0, position > 0, logp) {
                sequence.trained.push(position as u32);
                sequence.behaviour.push(logp);
            }
        }
        sequence
    }

    /// A sequence whose tokens from `start` on are trained, none of them sampled: a demonstration.
    #[must_use]
    pub fn demonstration(ids: Vec<u32>, trained: Vec<u32>) -> Self {
        Self { ids, trained, behaviour: Vec::new() }
    }

    /// Rows that a forward pass needs: the last trained token predicts nothing further.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.trained.last().map_or(0, |&last| last as usize)
    }
}

/// How many leading tokens all sequences of a group share, no trained one among them.
#[must_use]
pub fn common_prompt(group: &[&Sequence]) -> usize {
    let Some(first) = group.first() else { return 0 };
    let untrained = group.iter().filter_map(|s| s.trained.first()).min().map_or(0, |&t| t as usize);
    let same = (0..untrained).take_while(|&i| group.iter().all(|s| s.ids.get(i) == first.ids.get(i)));
    same.count()
}

/// Packs groups of sequences, each group's common prompt as one segment with its continuations as children.
///
/// Targets stand group by group, sequence by sequence, token by token: the statistics of a sequence's trained tokens
/// are one contiguous slice.
///
/// # Errors
/// [`Error::Data`] when the sequences of a group have no token in common.
pub fn pack(groups: &[Vec<&Sequence>], temperature: f32) -> Result<Batch> {
    let mut ids = Vec::new();
    let mut batch = Batch {
        input: Input::Ids(Vec::new()),
        positions: Vec::new(),
        segments: Vec::new(),
        targets: Vec::new(),
        temperature,
    };
    for group in groups {
        let prompt = common_prompt(group);
        if prompt == 0 {
            let cause = "the samples of a group share no first token; give every prompt at least one token";
            return Err(Error::Data(cause.into()));
        }
        let parent = batch.segments.len();
        let prompt_start = ids.len();
        batch.segments.push(Segment { start: prompt_start, len: prompt, parent: None });
        batch.positions.extend(0..prompt as u32);
        ids.extend_from_slice(&group[0].ids[..prompt]);
        for sequence in group {
            let start = ids.len();
            let rows = sequence.rows().max(prompt);
            if rows > prompt {
                batch.segments.push(Segment { start, len: rows - prompt, parent: Some(parent) });
                batch.positions.extend(prompt as u32..rows as u32);
                ids.extend_from_slice(&sequence.ids[prompt..rows]);
            }
            batch.targets.extend(sequence.trained.iter().map(|&position| {
                let before = position as usize - 1;
                let row = if before < prompt { prompt_start + before } else { start + before - prompt };
                Target { row: row as u32, token: sequence.ids[position as usize] }
            }));
        }
    }
    batch.input = Input::Ids(ids);
    Ok(batch)
}

/// Sequences computed at once: groups, or parts of groups, as lists of (group, sequence) indices.
pub type MicroBatch = Vec<Vec<(usize, usize)>>;

/// Cuts groups into micro-batches of at most `budget` rows each, longest sequences first so that the largest
/// micro-batch comes when memory is freshest. A group larger than the budget is split; each part pays for the prompt
/// again. A single sequence longer than the budget gets a micro-batch of its own.
#[must_use]
pub fn micro_batches(groups: &[Vec<&Sequence>], budget: usize) -> Vec<MicroBatch> {
    let mut pieces: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let prompt = common_prompt(group);
        let mut order: Vec<usize> = (0..group.len()).filter(|&s| !group[s].trained.is_empty()).collect();
        order.sort_by_key(|&s| std::cmp::Reverse(group[s].rows()));
        let mut piece: (usize, Vec<(usize, usize)>) = (prompt, Vec::new());
        for s in order {
            let own = group[s].rows().saturating_sub(prompt);
            if !piece.1.is_empty() && piece.0 + own > budget {
                pieces.push(std::mem::replace(&mut piece, (prompt, Vec::new())));
            }
            piece.0 += own;
            piece.1.push((g, s));
        }
        if !piece.1.is_empty() {
            pieces.push(piece);
        }
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.0));
    let mut batches: Vec<(usize, MicroBatch)> = Vec::new();
    for (rows, piece) in pieces {
        match batches.iter_mut().find(|batch| batch.0 + rows <= budget) {
            Some(batch) => {
                batch.0 += rows;
                batch.1.push(piece);
            }
            None => batches.push((rows, vec![piece])),
        }
    }
    batches.into_iter().map(|batch| batch.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequence(prompt: &[u32], completion: &[u32]) -> Sequence {
        let ids = [prompt, completion].concat();
        let trained = (prompt.len()..ids.len()).map(|p| p as u32).collect();
        Sequence { behaviour: vec![-1.0; completion.len()], ids, trained }
    }

    #[test]
    fn only_sampled_tokens_with_weight_are_trained() {
        let mut record = TokenRecord::default();
        record.push_given(Source::Prompt, &[1, 2]);
        record.push_sampled(3, -0.5);
        record.push_given(Source::Tool, &[4, 4]);
        record.push_sampled(5, -0.25);
        let sequence = Sequence::of_record(&record);
        assert_eq!(sequence.trained, [2, 5]);
        assert_eq!(sequence.behaviour, [-0.5, -0.25]);
    }

    #[test]
    fn a_group_shares_its_prompt() {
        let (a, b) = (sequence(&[1, 2], &[3, 4]), sequence(&[1, 2], &[5]));
        let batch = pack(&[vec![&a, &b]], 1.0).unwrap();
        assert_eq!(batch.input, Input::Ids(vec![1, 2, 3]));
        assert_eq!(batch.positions, [0, 1, 2]);
        assert_eq!(batch.segments[1], Segment { start: 2, len: 1, parent: Some(0) });
        let targets: Vec<_> = batch.targets.iter().map(|t| (t.row, t.token)).collect();
        assert_eq!(targets, [(1, 3), (2, 4), (1, 5)]);
    }

    #[test]
    fn context_after_the_first_trained_token_is_carried_but_not_predicted() {
        let mut sequence = sequence(&[1], &[2, 3, 4]);
        sequence.trained = vec![1, 3];
        let batch = pack(&[vec![&sequence]], 1.0).unwrap();
        assert_eq!(batch.input, Input::Ids(vec![1, 2, 3]));
        let targets: Vec<_> = batch.targets.iter().map(|t| (t.row, t.token)).collect();
        assert_eq!(targets, [(0, 2), (2, 4)]);
    }

    proptest! {
        #[test]
        fn micro_batches_hold_every_sample_once_within_the_budget(
            lengths in prop::collection::vec(prop::collection::vec(1usize..30, 1..6), 1..6), budget in 10usize..80,
        ) {
            let owned: Vec<Vec<Sequence>> = lengths.iter()
                .map(|group| group.iter().map(|&n| sequence(&[1, 2, 3], &vec![7; n])).collect()).collect();
            let groups: Vec<Vec<&Sequence>> = owned.iter().map(|g| g.iter().collect()).collect();
            let batches = micro_batches(&groups, budget);
            let mut seen: Vec<(usize, usize)> = batches.iter().flatten().flatten().copied().collect();
            seen.sort_unstable();
            let all: Vec<(usize, usize)> = lengths.iter().enumerate().flat_map(|(g, l)| (0..l.len()).map(move |s| (g, s))).collect();
            prop_assert_eq!(seen, all);
            for batch in &batches {
                let members: Vec<Vec<&Sequence>> = batch.iter().map(|piece| piece.iter().map(|&(g, s)| groups[g][s]).collect()).collect();
                let rows = pack(&members, 1.0).unwrap().positions.len();
                prop_assert!(rows <= budget || batch.iter().map(Vec::len).sum::<usize>() == 1);
            }
        }
    }
}
